"""Adapter files: their modules told apart, what is written, hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from adapters_fakes import Spot, changes, filled, settings
from safetensors.torch import save_file
from torch import Tensor, nn

from engine import adapterfiles, adapters, files, headers, tensorfile
from engine.adapterfiles import LOHA, LORA
from engine.adapters import file, sizes
from engine.adapters.base import NothingLearned
from engine.adapters.sizes import Sizes
from engine.errors import UserError


def lora(name: str = "lora_unet_a", rank: int = 4, alpha: float = 2.0, out: int = 6, inputs: int = 5, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of one module."""
    source = torch.Generator().manual_seed(seed)
    down, up = torch.randn(rank, inputs, generator=source), torch.randn(out, rank, generator=source)
    return {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(alpha)}


def loha(name: str = "lora_unet_b", rank: int = 2, alpha: float = 1.0) -> dict[str, Tensor]:
    """The tensors of one LoHa module of a 6 x 5 layer."""
    source = torch.Generator().manual_seed(7)
    shapes = {"w1_a": (6, rank), "w1_b": (rank, 5), "w2_a": (6, rank), "w2_b": (rank, 5)}
    factors = {f"{name}.hada_{end}": torch.randn(shape, generator=source) for end, shape in shapes.items()}
    return {**factors, f"{name}.alpha": torch.tensor(alpha)}


def test_modules_are_told_apart_one_by_one() -> None:
    found = file.modules({**lora(), **loha()})
    assert {name: (module.kind, module.rank, module.alpha, module.scale) for name, module in found.items()} == {
        "lora_unet_a": (LORA, 4, 2.0, 0.5),
        "lora_unet_b": (LOHA, 2, 1.0, 0.5),
    }


def test_a_file_of_several_kinds_is_applied_whole() -> None:
    sites = [Spot("lora_unet_a", nn.Linear(5, 6)), Spot("lora_unet_b", nn.Linear(5, 6)), Spot("lora_unet_c", nn.Linear(5, 6))]
    tensors = {**lora(), **loha()}
    method = adapters.from_file(sites, tensors)
    assert method.names() == ["lora_unet_a", "lora_unet_b"]
    one, other = (
        tensors["lora_unet_a.lora_up.weight"] @ tensors["lora_unet_a.lora_down.weight"],
        [tensors[f"lora_unet_b.hada_w{n}_a"] @ tensors[f"lora_unet_b.hada_w{n}_b"] for n in (1, 2)],
    )
    wanted = {"lora_unet_a": 0.5 * one, "lora_unet_b": 0.5 * other[0] * other[1]}
    found = changes(method)
    for name, change in wanted.items():
        torch.testing.assert_close(found[name], change)
    x = torch.randn(3, 5)
    before = sites[1].layer(x)
    method.attach()
    torch.testing.assert_close(sites[1].layer(x) - before, x @ wanted["lora_unet_b"].T, atol=1e-5, rtol=1e-4)
    assert [does for _, does in method.advice("x", Path("x"))][2] == "does not read LoHa"


def test_a_file_is_not_continued_by_another_method() -> None:
    sites = [Spot("lora_unet_b", nn.Linear(5, 6))]
    for more in ({}, {"dim_from_weights": True}):
        with pytest.raises(UserError, match="`lora_unet_b` is LoHa in the file and LoRA in this run") as caught:
            adapters.make(adapters.row("lora"), sites, settings(dim=2, weights=loha(), **more))
        assert caught.value.where == "network_weights"


@pytest.mark.parametrize("more", [{}, {"dim_from_weights": True}])
def test_factors_the_wrong_way_round_are_refused(more: dict[str, bool]) -> None:
    """Of as many values as there should be."""
    sites = [Spot("lora_unet_a", nn.Linear(5, 6))]
    wrong = {**lora(), "lora_unet_a.lora_up.weight": lora()["lora_unet_a.lora_up.weight"].T}
    with pytest.raises(UserError, match=r"is \[4, 5\] and \[4, 6\] in the file, \[4, 5\] and \[6, 4\] here"):
        adapters.make(adapters.row("lora"), sites, settings(weights=wrong, **more))
    with pytest.raises(UserError, match="in the file"):
        adapters.from_file(sites, wrong)


def test_a_module_at_a_layer_that_it_cannot_change_is_refused() -> None:
    sites = [Spot("lora_unet_a", nn.LayerNorm(5), kind="norm")]
    for make in (
        lambda: adapters.from_file(sites, lora(), "a.safetensors"),
        lambda: adapters.make(adapters.row("lora"), sites, settings(weights=lora(), dim_from_weights=True)),
    ):
        with pytest.raises(UserError, match="`lora_unet_a` is a norm here, which no LoRA changes"):
            make()


def test_an_alpha_of_zero_is_not_trained_and_is_nothing() -> None:
    sites = [Spot("lora_unet_a", nn.Linear(5, 6))]
    with pytest.raises(UserError, match="alpha of `lora_unet_a` is 0"):
        adapters.make(adapters.row("lora"), sites, settings(weights=lora(alpha=0.0), dim_from_weights=True))
    method = adapters.from_file(sites, lora(alpha=0.0))
    assert not changes(method)["lora_unet_a"].any()
    with pytest.raises(NothingLearned):
        method.write(Path("unwritten.safetensors"), torch.float32, {})


def test_a_missing_alpha_means_the_rank() -> None:
    assert file.modules({key: tensor for key, tensor in lora().items() if "alpha" not in key})["lora_unet_a"].alpha == 4.0


@pytest.mark.parametrize(
    ("modules", "told"),
    [
        ([(False, 4, 2.0)], Sizes("4", "2.0", "", "")),
        ([(False, 4, 2.0), (False, 4, 2.0), (True, 2, 1.0)], Sizes("4", "2.0", "2", "1.0")),
        ([(False, 4, 2.0), (False, 8, 2.0)], Sizes("Dynamic", "2.0", "", "")),
        ([(True, 2, 1.0)], Sizes("2", "1.0", "2", "1.0")),
        ([(True, 2, 1.0), (True, 4, 1.0)], Sizes("Dynamic", "1.0", "Dynamic", "1.0")),
    ],
)
def test_what_a_file_is_said_to_be(modules: list[tuple[bool, int, float]], told: Sizes) -> None:
    assert sizes.of(modules) == told


def test_an_alpha_that_half_precision_cannot_hold_is_written_in_full() -> None:
    assert file.exact(0.3, torch.bfloat16).dtype == torch.float32
    assert file.exact(0.3, torch.bfloat16).item() == pytest.approx(0.3)
    assert file.exact(0.5, torch.bfloat16).dtype == torch.bfloat16


GOOD = {"lora_unet_a.lora_down.weight": torch.ones(2, 3), "lora_unet_a.lora_up.weight": torch.ones(4, 2)}


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({}, "no LoRA module"),
        ({"model.diffusion_model.out.2.weight": torch.ones(2)}, "not a LoRA file"),
        ({**GOOD, "lora_unet_a.dora_scale": torch.ones(1, 3)}, "DoRA"),
        ({"lora_unet_a.hada_w1_a": torch.ones(2, 2)}, "`lora_unet_a` has no `hada_w1_b`"),
        ({"lora_unet_a.hada_t1": torch.ones(2, 2, 3, 3)}, "LoHa with Tucker"),
        ({**GOOD, "lora_unet_a.bias": torch.ones(4)}, "`lora_unet_a` is LoRA and holds `bias` besides"),
        ({"lora_unet_a.lokr_w1": torch.ones(2, 2)}, "LoKr"),
        ({"lora_unet_a.lora_mid.weight": torch.ones(2, 2, 3, 3)}, "Tucker"),
        ({"unet.down_blocks.0.attn1.to_q.lora_A.weight": torch.ones(2, 2)}, "PEFT"),
        ({"unet.down_blocks.0.attn1.processor.to_q_lora.down.weight": torch.ones(2, 2)}, "PEFT"),
        ({"text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer.up.weight": torch.ones(2, 2)}, "PEFT"),
        ({"lora_unet_a.diff": torch.ones(2, 2)}, "full weight differences"),
        ({"lora_unet_a.lora_down.weight": torch.ones(2, 3)}, "`lora_unet_a` has no `lora_up.weight`"),
        ({**GOOD, "lora_unet_a.lora_down.weight": torch.ones(2)}, r"`lora_unet_a.lora_down.weight` is no factor: its shape is \[2\]"),
        ({**GOOD, "lora_unet_a.alpha": torch.ones(2)}, "not one number"),
        ({**GOOD, "lora_unet_a.alpha": torch.tensor(float("nan"))}, "alpha of `lora_unet_a` is not a number"),
    ],
)
def test_other_files_are_refused_by_name(tensors: dict[str, Tensor], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        file.modules(tensors, "some.safetensors")
    assert caught.value.where == "some.safetensors"
    assert caught.value.hint


@pytest.mark.parametrize("rank", [4, 3000])
def test_hashes_are_those_of_the_finished_file(tmp_path: Path, rank: int) -> None:
    """Against their definition, on a file below and one above 1 MiB."""
    tensors = {**lora("lora_unet_b", rank, out=64, inputs=64), **lora("lora_unet_a", rank, out=64, inputs=64, seed=1)}
    ss = {"ss_network_dim": str(rank), "ss_output_name": "x"}
    model, legacy = file.hashes(tensors, ss)
    finished = tmp_path / "finished.safetensors"
    tensorfile.write(finished, tensors, {**ss, "sshs_model_hash": model, "sshs_legacy_hash": legacy, "modelspec.title": "x"})
    raw = finished.read_bytes()
    assert (
        hashlib.sha256(raw[8 + int.from_bytes(raw[:8], "little") :]).hexdigest()
        == model
        == files.sha256(finished, headers.read(finished).data_start)
    )
    bare = tmp_path / "bare.safetensors"
    save_file(tensors, str(bare), metadata=ss)
    assert hashlib.sha256(bare.read_bytes()[0x100000:0x110000]).hexdigest()[:8] == legacy
    assert (legacy == "e3b0c442") is (rank == 4)


def test_the_hashes_leave_out_what_can_be_edited(tmp_path: Path) -> None:
    """The Model Spec's keys, which people change later. The old hash covers 64 KiB from 1 MiB on, which the `ss_*` keys push along."""
    tensors = lora(rank=3000, out=64, inputs=64)

    def told(metadata: dict[str, str]) -> dict[str, str]:
        file.write(tmp_path / "a.safetensors", lambda dtype: tensors, lambda tensors: False, torch.float32, metadata)
        return headers.read(tmp_path / "a.safetensors").metadata

    first, edited = told({"ss_epoch": "1"}), told({"ss_epoch": "1", "modelspec.title": "T"})
    longer = told({"ss_epoch": "1", "ss_steps": "22"})
    own = {name: value for name, value in first.items() if name.startswith("ss_")}
    raw = tensorfile.serialise(tensors, own)
    assert first == {
        **own,
        "sshs_model_hash": hashlib.sha256(raw[8 + int.from_bytes(raw[:8], "little") :]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(raw[0x100000:0x110000]).hexdigest()[:8],
    }
    assert edited == {**first, "modelspec.title": "T"}
    assert longer["sshs_model_hash"] == first["sshs_model_hash"] and longer["sshs_legacy_hash"] != first["sshs_legacy_hash"]


def test_the_order_of_modules_does_not_matter_to_the_hashes() -> None:
    packed = {**lora("lora_unet_b"), **lora("lora_unet_a", seed=1)}
    assert file.hashes(packed, {}) == file.hashes(dict(reversed(packed.items())), {})


def test_write_and_read(tmp_path: Path) -> None:
    path = tmp_path / "資料 夾" / "a.safetensors"
    sites = [Spot("lora_unet_a", nn.Linear(5, 6)), Spot("lora_te_b", nn.Linear(5, 6), part="text_encoder")]
    method = filled(adapters.make(adapters.row("lora"), sites, settings()))
    method.write(path, torch.float32, {"ss_network_dim": "99", "ss_network_args": '{"rank_dropout": "0.1"}', "ss_epoch": "1"})
    metadata = headers.read(path).metadata
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"], metadata["ss_epoch"]) == ("4", "2.0", "1")
    assert metadata["ss_network_args"] == '{"rank_dropout": "0.1"}'
    again = adapters.from_file(sites, tensorfile.read(path))
    assert all(torch.equal(change, changes(method)[name]) for name, change in changes(again).items())


@pytest.mark.parametrize(
    ("tensor", "module", "end", "part"),
    [
        ("lora_unet_a.lora_down.weight", "lora_unet_a", "lora_down.weight", "unet"),
        ("lora_te2_a.alpha", "lora_te2_a", "alpha", "text_encoder_2"),
        ("lycoris_a_b.hada_w1_a", "lycoris_a_b", "hada_w1_a", ""),
        ("oft_unet_a.oft_blocks", "oft_unet_a", "oft_blocks", ""),
        ("unet.a.to_q.lora_A.weight", "unet.a.to_q", "lora_A.weight", "unet"),
        ("unet.a.to_q.alpha", "unet.a.to_q", "alpha", "unet"),
        ("base_model.a.lora_B.default.weight", "base_model.a", "lora_B.default.weight", ""),
        ("unet.a.processor.to_q_lora.down.weight", "unet.a.processor.to_q", "_lora.down.weight", "unet"),
        ("text_encoder_2.a.lora_linear_layer.up.weight", "text_encoder_2.a", "lora_linear_layer.up.weight", "text_encoder_2"),
        ("model.diffusion_model.out.2.weight", "", "model.diffusion_model.out.2.weight", ""),
    ],
)
def test_names_taken_apart(tensor: str, module: str, end: str, part: str) -> None:
    assert adapterfiles.split(tensor) == (module, end)
    assert adapterfiles.part(tensor) == part


def test_the_rows_of_methods_and_the_kinds_of_files_agree() -> None:
    for row in adapters.METHODS:
        assert (row.kind is None) == (row.layer is None) and (row.layer or row.maker)
        if row.layer is not None:
            layer = row.layer()
            assert layer.kind is row.kind and row.kind in adapterfiles.KINDS
            assert tuple(layer.ends.values()) == row.kind.suffixes
            assert set(layer.factors) <= set(layer.ends) and set(layer.faster) <= set(layer.ends)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_a_format_holds_exactly_is_known_without_tensors(dtype: torch.dtype) -> None:
    parts = (1.0, -1.5, 1 + 2**-7, 1 + 2**-8, -1 - 2**-10)
    powers = [2.0**power * part for power in range(-130, 130) for part in parts]
    for value in (0.0, 0.1, 0.3, 1 / 3, 65504.0, 65520.0, 1e6, 3.3e38, *powers):
        short = torch.tensor(value, dtype=dtype)
        assert file.exact_dtype(value, dtype) == (dtype if float(short) == value else torch.float32), value
