"""Sample pictures of a run, and the rows of their page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from generation_fakes import CPU, Adapter, Vae, conditions, network, tiny_vae

from engine.diffusion.samplers import SAMPLERS
from engine.errors import UserError
from engine.generation import page, png
from engine.generation.decoding import decode
from engine.generation.generate import Sampled
from engine.generation.prompt import Prompt
from engine.generation.samples import Moment, Previewer, plan, sampler_names


@pytest.fixture
def vae(monkeypatch: pytest.MonkeyPatch) -> Vae:
    return tiny_vae(monkeypatch)


def previewer(folder: Path, adapter: bool = True, prompts: Sequence[Prompt] = (), **changes: object) -> tuple[Previewer, Sampled, Adapter]:
    net = network()
    net.unet.train()
    hook = Adapter(net.unet) if adapter else None
    shots = plan(prompts or [Prompt("a cat", seed=7), Prompt("a dog", width=64)], size=(128, 64), sampler="k_euler_a", karras=False, seed=1)
    made = Previewer(
        net, shots, lambda shot: conditions(), lambda latents: decode(net.family, Vae(), latents, CPU), folder, "my run",
        origin=png.Provenance(model="base"), methods=[hook] if hook else [], **changes,
    )  # type: ignore[arg-type]  # fmt: skip
    return made, net, hook  # type: ignore[return-value]


def test_a_row_of_pictures(tmp_path: Path, vae: Vae) -> None:
    maker, net, adapter = previewer(tmp_path / "样 图")
    made = maker.at(Moment(500, 2, 0.25))
    assert [path.name for path in made.pictures] == ["my run_000500_00_7.png", f"my run_000500_01_{maker._shots[1].seed}.png"]
    assert not made.notices and made.page == tmp_path / "样 图" / "samples.html"
    settings = png.parse(png.read(made.pictures[0]) or "").settings
    assert (settings["Seed"], settings["Size"], settings["Training step"], settings["Training epoch"]) == ("7", "128x64", "500", "2")
    assert settings["Sampler"] == "Euler a" and settings["Model"] == "base"
    assert adapter.strength == 1.0 and adapter.mode is True and set(adapter.log) == {(1.0, False)}
    assert all(module.training for module in net.unet.modules())
    again = maker.at(Moment(500, 2, 0.25))
    assert [path.read_bytes() for path in again.pictures] == [path.read_bytes() for path in made.pictures]


def test_the_base_row_is_strength_0(tmp_path: Path, vae: Vae) -> None:
    maker, _, adapter = previewer(tmp_path / "a")
    based = maker.base()
    assert set(adapter.log) == {(0.0, False)} and adapter.strength == 1.0
    bare, _, _ = previewer(tmp_path / "b", adapter=False)
    plain = bare.at(Moment(1))
    import numpy as np
    from PIL import Image

    for one, other in zip(based.pictures, plain.pictures, strict=True):
        assert np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other)))
    assert based.pictures[0].name == "my run_base_00_7.png"
    assert png.parse(png.read(based.pictures[0]) or "").settings["Adapter strength"] == "0"
    assert "Training step" not in png.parse(png.read(based.pictures[0]) or "").settings


def test_a_resumed_run_keeps_its_rows(tmp_path: Path, vae: Vae) -> None:
    first, _, _ = previewer(tmp_path)
    first.base()
    first.at(Moment(10))
    second, _, _ = previewer(tmp_path)
    second.at(Moment(20, 3))
    record = page.load(tmp_path, "")
    assert [(row.base, row.step) for row in record.rows] == [(True, 0), (False, 10), (False, 20)]
    assert record.rows[-1].cells[0] == "samples/my run_000020_00_7.png"
    assert all((tmp_path / file).is_file() for row in record.rows for file in row.cells.values())


def test_each_prompt_has_its_strength(tmp_path: Path, vae: Vae) -> None:
    prompts = [Prompt("a", steps=1, scale=1.0, strength=strength) for strength in (None, -0.5, 0.0)]
    maker, _, adapter = previewer(tmp_path, prompts=prompts)
    maker.at(Moment(1))
    assert [strength for strength, _ in adapter.log] == [1.0, -0.5, 0.0]


def test_a_stop_in_the_middle_leaves_everything_in_order(tmp_path: Path, vae: Vae) -> None:
    def stop(picture: int, pictures: int, step: int, steps: int) -> None:
        assert (pictures, steps) == (2, 30)
        if (picture, step) == (2, 3):
            raise KeyboardInterrupt

    maker, net, adapter = previewer(tmp_path, progress=stop)
    adapter.strength = 0.8
    with pytest.raises(KeyboardInterrupt):
        maker.at(Moment(1))
    assert adapter.strength == 0.8 and adapter.mode and all(module.training for module in net.unet.modules())
    assert not list(tmp_path.iterdir())


def test_a_diverged_model_is_told(tmp_path: Path, vae: Vae) -> None:
    maker, net, _ = previewer(tmp_path)
    with torch.no_grad():
        net.unet[0].weight.fill_(float("nan"))  # type: ignore[operator]
    (notice,) = maker.at(Moment(1)).notices
    assert "pictures of prompts 1, 2" in notice and "diverged" in notice


def test_plan_decides_everything() -> None:
    prompts = [Prompt("a", sampler="k_euler"), Prompt("b", seed=5, karras=True, sampler="lms")]
    one, two = plan(prompts, size=(70, 64), sampler="ddim", karras=False, seed=3)
    assert (one.sampler, one.width, one.height, one.karras) == ("euler", 64, 64, False) and (two.seed, two.karras) == (5, True)
    assert one.seed == plan([Prompt("x")], size=(64, 64), sampler="ddim", karras=False, seed=3)[0].seed
    with pytest.raises(UserError, match="no Karras variant") as caught:
        plan([Prompt("a", where="p.txt:1", karras=True)], size=(64, 64), sampler="ddim", karras=False, seed=1)
    assert caught.value.where == "p.txt:1" and "--karras off" in caught.value.hint
    assert {"ddim", "k_euler_a", "dpmsolver++"} <= set(sampler_names())
    assert set(png.DISPLAY_NAMES) == {row.name for row in SAMPLERS}
