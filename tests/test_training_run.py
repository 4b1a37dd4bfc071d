"""Whole runs on the micro models, a few steps each: what they write, that they repeat, that they stop well."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs import config, quiet

from engine import files, headers, tensorfile
from engine.data.batches import Batch
from engine.errors import UserError
from engine.training import train as training
from engine.training.session import Result

Pictures = Callable[..., list[Path]]


@pytest.fixture
def data(tmp_path: Path, pictures: Pictures) -> Path:
    """Two concepts of a few pictures, several buckets."""
    folder = tmp_path / "訓練 資料"
    pictures(folder / "2_sks cat", ((64, 64), (96, 64), (64, 96)), caption="sks cat, sitting, grass")
    pictures(folder / "1_blue dot", ((80, 80), (128, 64)))
    return folder


def flags(model: Path, data: Path, *more: str) -> list[str]:
    """A tiny run: 64 pixels, batches of 2, one step shown at a time."""
    size = ["--resolution", "64", "--min_bucket_reso", "64", "--train_batch_size", "2", "--network_dim", "4", "--network_alpha", "2"]
    length = ["--max_train_epochs", "2", "--learning_rate", "1e-3", "--log_every_n_steps", "1", "--device", "cpu"]
    return ["--pretrained_model_name_or_path", str(model), "--train_data_dir", str(data), *size, *length, *more]


def run(folder: Path, *arguments: str) -> Result:
    """Train quietly."""
    return training.train(config(folder, *arguments), reporter=quiet()[0])


def hash_of(path: Path) -> str:
    """`sshs_model_hash` of a file."""
    return headers.read(path).metadata["sshs_model_hash"]


def test_a_run_writes_its_file_settings_log_and_metadata(tmp_path: Path, micro_sd: Path, data: Path) -> None:
    result = run(tmp_path, *flags(micro_sd, data, "--save_every_n_epochs", "1"))
    folder = result.file.parent
    assert result.file == tmp_path / "output" / "訓練_資料" / "訓練_資料.safetensors"
    assert (result.step, result.interrupted) == (8, False)  # 2 epochs of 8 samples in batches of 2
    assert {path.name for path in folder.iterdir()} >= {"settings.toml", "train.log", "訓練_資料-000001.safetensors"}
    metadata = headers.read(result.file).metadata
    told = [metadata[f"ss_{name}"] for name in ("network_module", "network_dim", "steps", "epoch")]
    assert told == ["networks.lora", "4", "8", "2"]
    assert json.loads(metadata["ss_tag_frequency"])["2_sks cat"] == {"sks cat": 3, "sitting": 3, "grass": 3}
    assert json.loads(metadata["ss_dataset_dirs"])["1_blue dot"] == {"n_repeats": 1, "img_count": 2}
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert metadata["sshs_model_hash"] == files.sha256(result.file, headers.read(result.file).data_start)
    assert str(tmp_path) not in json.dumps(metadata, ensure_ascii=False)


def test_every_module_has_its_alpha_and_the_metadata_say_which(tmp_path: Path, micro_sd: Path, data: Path) -> None:
    only = ("--max_train_epochs", "0", "--max_train_steps", "2")
    first = run(tmp_path, *flags(micro_sd, data, *only, "--network_args", "conv_dim=2"))
    again = run(tmp_path, *flags(micro_sd, data, *only, "--network_weights", str(first.file), "--dim_from_weights", "--network_dim", "9"))
    for file in (first.file, again.file):
        tensors, metadata = tensorfile.read(file), headers.read(file).metadata
        alphas = {name: float(tensor) for name, tensor in tensors.items() if name.endswith(".alpha")}
        assert 3 * len(alphas) == len(tensors)
        assert {alpha for name, alpha in alphas.items() if name.endswith("conv1.alpha")} == {1.0}
        assert {alpha for name, alpha in alphas.items() if name.endswith(("to_q.alpha", "fc1.alpha"))} == {2.0}
        assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("4", "2.0")
        assert json.loads(metadata["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "1.0"}


def test_the_settings_of_a_run_give_the_same_run(tmp_path: Path, micro_sd: Path, data: Path) -> None:
    first = run(tmp_path, *flags(micro_sd, data))
    again = run(tmp_path, "--config", str(first.file.parent / "settings.toml"))
    assert again.file != first.file
    assert again.losses == first.losses
    assert hash_of(again.file) == hash_of(first.file)


def split(batch: Batch, size: int) -> list[Batch]:
    """The samples in pieces of at most `size`: what was drawn for each stays as it is."""
    pieces = []
    for start in range(0, len(batch), size):
        part = slice(start, start + size)
        ids = None if batch.ids is None else batch.ids[:, part]  # its batch dimension is the second
        pieces.append(replace(batch.map(lambda tensor, part=part: tensor[part]), ids=ids, samples=batch.samples[part]))
    return pieces


def test_how_a_step_is_cut_changes_nothing(tmp_path: Path, micro_sd: Path, pictures: Pictures) -> None:
    """Randomness belongs to the sample (rule 9): the gradient of 5 samples, whole and in pieces of 2, 2 and 1."""
    pictures(tmp_path / "data" / "1_dot", ((64, 64),) * 5)
    understood = training.understand(config(tmp_path, *flags(micro_sd, tmp_path / "data", "--train_batch_size", "5")), (), quiet()[0])
    loaded = training.load(understood)
    batch = loaded.collate(next(iter(understood.plan.order.batches())))
    params = [param for method in loaded.networks.methods for group in method.parameter_groups() for param in group.params]

    def gradient(size: int) -> torch.Tensor:
        for piece in split(batch, size):
            (loaded.step(piece)[0] * (len(piece) / len(batch))).backward()
        found = torch.cat([param.grad.flatten() for param in params if param.grad is not None])
        for param in params:
            param.grad = None
        return found

    whole = gradient(5)
    assert float((gradient(2) - whole).norm()) <= 1e-3 * float(whole.norm())  # convolutions round otherwise for other batch sizes


def test_sdxl_trains_its_unet_on_text_encoded_ahead(tmp_path: Path, micro_sdxl: Path, data: Path) -> None:
    reporter, said = quiet()
    only = ("--network_train_unet_only", "--shuffle_caption", "--gradient_checkpointing", "--max_train_epochs", "1")
    arguments = flags(micro_sdxl, data, *only)
    result = training.train(config(tmp_path, *arguments), reporter=reporter)
    assert "text is encoded ahead for every caption" in said.getvalue()
    names = headers.read(result.file).tensors
    assert names
    assert all(name.startswith("lora_unet_") for name in names)
    assert headers.read(result.file).metadata["ss_base_model_version"] == "sdxl_base_v1-0"


@pytest.mark.parametrize("optimizer", ["AdamW", "Lion", "Adafactor", "Prodigy"])
def test_every_optimizer_trains(tmp_path: Path, micro_sd: Path, pictures: Pictures, optimizer: str) -> None:
    pictures(tmp_path / "data" / "2_dot", ((64, 64),) * 2)
    arguments = flags(micro_sd, tmp_path / "data", "--optimizer_type", optimizer, "--save_precision", "float")
    result = run(tmp_path, *arguments)
    ups = [tensor for name, tensor in tensorfile.read(result.file).items() if "lora_up" in name]
    assert all(bool(tensor.isfinite().all()) for tensor in ups)
    assert any(bool(tensor.any()) for tensor in ups)


def test_a_name_that_is_taken_is_kept(tmp_path: Path, micro_sd: Path, data: Path) -> None:
    arguments = flags(micro_sd, data, "--output_name", "miku", "--max_train_steps", "1", "--max_train_epochs", "0")
    first = run(tmp_path, *arguments)
    before = first.file.read_bytes()
    reporter, said = quiet()
    second = training.train(config(tmp_path, *arguments), reporter=reporter)
    assert second.file.name == "miku_2.safetensors"
    assert first.file.read_bytes() == before
    assert "holds an earlier run and is kept; this one is called `miku_2`" in said.getvalue()


def test_ctrl_c_saves_what_was_trained(tmp_path: Path, micro_sd: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.training import loop

    plain, seen = loop.Sums.add, []

    def add(self: loop.Sums, name: str, values: torch.Tensor) -> None:
        plain(self, name, values)
        seen.append(name)
        if seen.count("gradient norm") == 3 and seen[-1] == "gradient norm":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop.Sums, "add", add)
    before = signal.getsignal(signal.SIGINT)  # ignored, where a shell started the tests in the background
    reporter, said = quiet()
    result = training.train(config(tmp_path, *flags(micro_sd, data)), reporter=reporter)
    assert (result.interrupted, result.step) == (True, 3)
    assert result.file.name.endswith("-step00000003.safetensors")
    assert "what was trained is saved" in said.getvalue()
    assert signal.getsignal(signal.SIGINT) is before


def test_pictures_are_made_before_during_and_after(tmp_path: Path, micro_sd: Path, data: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("sks cat --w 64 --h 64 --s 2 --d 1\n", encoding="utf-8")
    result = run(tmp_path, *flags(micro_sd, data, "--sample_prompts", str(prompts), "--sample_every_n_epochs", "1"))
    names = sorted(path.name for path in (result.file.parent / "samples").iterdir())
    assert [name.split("_")[2] for name in names] == ["000004", "000008", "base"]
    assert (result.file.parent / "samples.html").is_file()


@pytest.mark.slow
def test_pictures_do_not_change_the_training(tmp_path: Path, micro_sd: Path, data: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("sks cat --w 64 --h 64 --s 2 --d 1\n", encoding="utf-8")
    dropout = ("--network_dropout", "0.1")
    plain = run(tmp_path, *flags(micro_sd, data, *dropout))
    with_pictures = run(tmp_path, *flags(micro_sd, data, *dropout, "--sample_prompts", str(prompts), "--sample_every_n_steps", "2"))
    assert hash_of(plain.file) == hash_of(with_pictures.file)


@pytest.mark.parametrize(
    ("module", "args"),
    [
        ("networks.lora", ()),
        ("networks.loha", ()),
        pytest.param("lycoris.kohya", ("algo=loha", "conv_dim=2"), marks=pytest.mark.slow),
    ],
)
def test_training_continues_from_a_file(tmp_path: Path, micro_sd: Path, data: Path, module: str, args: tuple[str, ...]) -> None:
    more = ("--network_args", *args) if args else ()
    short = ("--max_train_epochs", "0", "--save_precision", "float", "--network_module", module, *more)
    first = run(tmp_path, *flags(micro_sd, data, *short, "--max_train_steps", "2"))
    more = ("--network_weights", str(first.file), "--learning_rate", "1e-12", "--max_train_steps", "1")
    second = run(tmp_path, *flags(micro_sd, data, *short, *more))
    one, other = tensorfile.read(first.file), tensorfile.read(second.file)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-9)
    metadata = headers.read(second.file).metadata
    assert [metadata[f"ss_network_{name}"] for name in ("module", "dim", "alpha")] == [module, "4", "2.0"]
    assert json.loads(metadata["ss_network_args"]).get("algo") == (args[0].partition("=")[2] if args else None)


def test_a_preset_without_text_layers_trains_the_unet_alone(tmp_path: Path, micro_sd: Path, data: Path) -> None:
    short = ("--max_train_epochs", "0", "--max_train_steps", "1", "--network_module", "lycoris.kohya", "--network_args", "preset=unet-only")
    result = run(tmp_path, *flags(micro_sd, data, *short))
    assert {name.split("_")[1] for name in tensorfile.read(result.file)} == {"unet"}
    assert [headers.read(result.file).metadata[f"ss_{name}"] for name in ("unet_lr", "text_encoder_lr")] == ["0.001", "None"]


def test_nothing_to_train_is_refused(tmp_path: Path, micro_sd: Path, data: Path) -> None:
    with pytest.raises(UserError, match="nothing would be trained"):
        run(tmp_path, *flags(micro_sd, data, "--unet_lr", "0", "--network_train_unet_only"))
    assert not (tmp_path / "output").exists()


def test_a_run_that_trained_nothing_leaves_its_name_free(tmp_path: Path, micro_sd: Path, data: Path) -> None:
    wrong = ("--output_name", "miku", "--network_weights", str(tmp_path / "missing.safetensors"))
    with pytest.raises(UserError, match="there is no such file"):
        run(tmp_path, *flags(micro_sd, data, *wrong))
    assert not (tmp_path / "output" / "miku").exists()
