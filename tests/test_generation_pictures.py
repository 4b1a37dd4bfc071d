"""Sampling, decoding, conditioning and the rows of the page, on a network of a few hundred weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.diffusion.samplers import SAMPLERS
from engine.diffusion.schedule import alphas_cumprod
from engine.errors import UserError
from engine.generation import generate as generation
from engine.generation import page, png
from engine.generation.conditioning import encode, overlong, token_weights, weigh
from engine.generation.generate import Sampled, decode, evaluating, first_noise, generate
from engine.generation.prompt import Prompt, Shot, emphasis
from engine.generation.samples import Moment, Previewer, plan, sampler_names
from engine.models.family import Cond, LatentSpec
from engine.models.tokens import tokenizer

SHOT = Shot("a cat", "a dog", 64, 32, 42, 4, 3.0, "euler_a", False, 1.0)
CPU = torch.device("cpu")


class Tiny:
    """A family of one small network; `calls` records what it was asked."""

    name = "tiny"
    latent = LatentSpec(4, 8, (0.5,), (0.1,))
    parts, text_parts = ("unet", "vae", "text_encoder"), ("text_encoder",)

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor, Cond, Tensor | None]] = []

    def tokenize(self, captions: Sequence[str], max_token_length: int | None = None) -> Tensor:
        return torch.tensor([tokenizer().encode(captions, max_token_length).ids])

    def encode_text(self, encoders: Mapping[str, nn.Module], ids: Tensor, clip_skip: int | None = None) -> Cond:
        hidden = encoders["text_encoder"](ids[0])
        return Cond(hidden, hidden.mean(1))

    def pack(self, cond: Cond) -> dict[str, Tensor]:
        assert cond.pooled is not None
        return {"hidden": cond.hidden, "pooled": cond.pooled}

    def unpack(self, named: Mapping[str, Tensor]) -> Cond:
        return Cond(named["hidden"], named["pooled"])

    def predict(self, unet: nn.Module, noisy: Tensor, t: Tensor, cond: Cond, size: Tensor | None = None) -> Tensor:
        assert t.dtype == torch.float32 and t.shape == noisy.shape[:1]
        self.calls.append((noisy, t, cond, size))
        return unet(noisy) * 0.5 + cond.hidden.mean((1, 2)).view(-1, 1, 1, 1).to(noisy.dtype)


class Oracle(Tiny):
    """The perfect network for one picture: whatever the sampler, it must end there."""

    def __init__(self, clean: Tensor, prediction: str, zero_terminal: bool) -> None:
        super().__init__()
        self.clean, self.prediction = clean, prediction
        alphas = alphas_cumprod(zero_terminal)
        if zero_terminal:
            alphas[-1] = 2.0**-24
        self.log_ratio = (alphas / (1 - alphas)).log()

    def predict(self, unet: nn.Module, noisy: Tensor, t: Tensor, cond: Cond, size: Tensor | None = None) -> Tensor:
        low = t.double().floor().long().clamp(0, 998)
        log_ratio = torch.lerp(self.log_ratio[low], self.log_ratio[low + 1], t.double() - low)
        signal, spread = log_ratio.sigmoid().sqrt().view(-1, 1, 1, 1), (-log_ratio).sigmoid().sqrt().view(-1, 1, 1, 1)
        noise = (noisy.double() - signal * self.clean) / spread
        return (noise if self.prediction == "epsilon" else signal * noise - spread * self.clean).float()


class Adapter:
    """An adapter as a preview sees it."""

    def __init__(self, unet: nn.Module) -> None:
        self.strength, self.mode, self.log = 1.0, True, []
        unet.register_forward_hook(lambda module, args, out: self.change(out))

    def change(self, out: Tensor) -> Tensor:
        self.log.append((self.strength, self.mode))
        return out + self.strength * 0.3 if self.strength else out

    def train(self, mode: bool) -> None:
        self.mode = mode


class Vae(nn.Module):
    """Latents to pixels by repetition; `tiled` tells what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.tile_sample_min_size, self.tile_latent_min_size = 1024, 128
        self.tiled: list[tuple[str, int, int]] = []

    def enable_tiling(self) -> None:
        self.tiled.append(("on", self.tile_sample_min_size, self.tile_latent_min_size))

    def disable_tiling(self) -> None:
        self.tiled.append(("off", self.tile_sample_min_size, self.tile_latent_min_size))


@pytest.fixture
def vae(monkeypatch: pytest.MonkeyPatch) -> Vae:
    def decode_images(network: nn.Module, latents: Tensor) -> Tensor:
        return latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3)

    monkeypatch.setattr(generation, "decode_images", decode_images)
    return Vae()


def network(family: Tiny | None = None, **changes: object) -> Sampled:
    torch.manual_seed(0)
    unet = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Dropout(0.5))
    return dataclasses.replace(Sampled(family or Tiny(), unet, CPU), **changes)  # type: ignore[arg-type]


def conditions(low: float = 0.0, high: float = 0.1) -> Cond:
    hidden = torch.stack([torch.full((77, 6), low), torch.full((77, 6), high)])
    return Cond(hidden, hidden.mean(1))


# ---- sampling ------------------------------------------------------------------------------------------------------------------------


def test_seeds_repeat_and_leave_the_process_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with evaluating((net := network()).unet):
        torch.set_rng_state(before)
        first = generate(net, SHOT, conditions())
        other = generate(net, dataclasses.replace(SHOT, seed=43), conditions())
        again = generate(net, SHOT, conditions())
    assert torch.equal(torch.get_rng_state(), before)
    assert first.shape == (4, 4, 8) and first.dtype == torch.float32
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not first.requires_grad and torch.is_grad_enabled()


def test_first_noise_is_everybodys() -> None:
    noise, source = first_noise(123, (1, 4, 4, 8))
    torch.manual_seed(123)
    assert torch.equal(noise, torch.randn(1, 4, 4, 8))
    assert torch.equal(torch.randn(3, generator=source), torch.randn(3))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("name", "karras"), [*((row.name, False) for row in SAMPLERS), *((row.name, True) for row in SAMPLERS if row.karras)]
)
def test_every_sampler_finds_the_picture(name: str, karras: bool, prediction: str) -> None:
    clean = torch.linspace(-1, 1, 4 * 4 * 8, dtype=torch.float64).view(1, 4, 4, 8)
    net = network(Oracle(clean, prediction, False), prediction=prediction)
    for steps, tolerance in ((3, 0.15), (20, 0.08)):  # ddim and pndm end at the first noise level, not at none
        shot = dataclasses.replace(SHOT, sampler=name, karras=karras, steps=steps, scale=1.0)
        error = (generate(net, shot, conditions()) - clean[0]).abs().max()
        assert error < tolerance, (steps, float(error))


@pytest.mark.parametrize("name", ["ddim", "euler", "euler_a", "dpmsolver++"])
def test_zero_terminal_snr(name: str) -> None:
    clean = torch.linspace(-1, 1, 4 * 4 * 8, dtype=torch.float64).view(1, 4, 4, 8)
    net = network(Oracle(clean, "v_prediction", True), prediction="v_prediction", zero_terminal_snr=True)
    shot = dataclasses.replace(SHOT, sampler=name, steps=20, scale=1.0)
    assert (generate(net, shot, conditions()) - clean[0]).abs().max() < 0.12


def test_guidance_runs_both_prompts_as_one_batch() -> None:
    family = Tiny()
    net = network(family)
    with evaluating(net.unet):
        guided = generate(net, SHOT, conditions(0.0, 0.1))
        noisy, t, cond, size = family.calls[0]
        assert noisy.shape == (2, 4, 4, 8) and torch.equal(noisy[0], noisy[1])
        assert size is not None and size.tolist() == [[32, 64, 0, 0, 32, 64]] * 2 and size.dtype == torch.int64
        # the network is linear in the conditioning, so guidance at scale 3 equals the prompt 3 times as far from the negative one, unguided
        plain = generate(net, dataclasses.replace(SHOT, scale=1.0), conditions(9.0, 0.3))
    assert family.calls[-1][0].shape[0] == 1
    assert torch.allclose(guided, plain, atol=1e-5)


def test_progress_counts_network_steps() -> None:
    seen: list[tuple[int, int]] = []
    generate(network(), SHOT, conditions(), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_evaluating_restores_every_modules_mode() -> None:
    mixed = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    mixed[1].eval()
    modes = [module.training for module in mixed.modules()]
    with pytest.raises(KeyError), evaluating(mixed):
        assert not any(module.training for module in mixed.modules())
        raise KeyError
    assert [module.training for module in mixed.modules()] == modes == [True, True, False, False]


# ---- decoding ------------------------------------------------------------------------------------------------------------------------


def test_decoding_unscales_and_rounds(vae: Vae) -> None:
    spec = Tiny.latent
    wide = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).expand(4, 2, 5)
    small = torch.full((4, 1, 1), float("nan"))
    pictures = decode(Tiny(), vae, [spec.scaled(wide[None])[0], small], CPU)
    assert pictures[0].dtype == torch.uint8 and pictures[0].shape == (16, 40, 3)
    assert pictures[0][0, ::8, 0].tolist() == [0, 0, 128, 255, 255]
    assert pictures[1].unique().tolist() == [0] and not vae.tiled


def test_a_large_picture_is_decoded_in_tiles(vae: Vae, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "_CPU_BYTES", 4 * 1024 * 64 * 64)
    decode(Tiny(), vae, [torch.zeros(4, 8, 8), torch.zeros(4, 8, 9)], CPU)
    assert vae.tiled == [("on", 512, 64), ("off", 512, 64)]
    assert (vae.tile_sample_min_size, vae.tile_latent_min_size) == (1024, 128)


# ---- conditioning --------------------------------------------------------------------------------------------------------------------


def encoders() -> dict[str, nn.Module]:
    torch.manual_seed(1)
    return {"text_encoder": nn.Embedding(49408, 6)}


def test_a_plain_prompt_takes_the_plain_path() -> None:
    family, nets = Tiny(), encoders()
    ids = family.tokenize(["dog (x)", "a cat"], 75)
    shot = dataclasses.replace(SHOT, negative=r"dog \(x\)")
    assert torch.equal(encode(family, nets, shot).hidden, family.encode_text(nets, ids).hidden)
    assert not encode(family, nets, shot).hidden.requires_grad


def test_emphasis_weighs_tokens_and_keeps_the_mean() -> None:
    family, nets = Tiny(), encoders()
    plain = encode(family, nets, SHOT)
    weighted = encode(family, nets, dataclasses.replace(SHOT, text="a (cat:1.5)"))
    assert torch.equal(weighted.hidden[0], plain.hidden[0])
    assert torch.allclose(weighted.hidden.mean((1, 2)), plain.hidden.mean((1, 2)), atol=1e-6)
    ratio = (weighted.hidden / plain.hidden)[1, :, 0]
    assert torch.allclose(ratio[2] / ratio[1], torch.tensor(1.5)) and torch.allclose(ratio[3:], ratio[0])
    assert weighted.pooled is not None and torch.equal(weighted.pooled, plain.pooled)  # type: ignore[arg-type]


def test_states_without_a_mean_are_not_blown_up() -> None:
    hidden = torch.tensor([[[1.0, -1.0], [1.0, -1.0 + 1e-6]]])
    assert torch.allclose(weigh(hidden, torch.tensor([[1.0, 2.0]])), hidden * torch.tensor([[1.0], [2.0]]))


def test_token_weights_follow_the_pieces() -> None:
    weights = token_weights(emphasis("a (photo of:1.5) [cat], (re:2)ality"), 75)
    assert weights.shape == (77,)
    assert weights[:9].tolist() == pytest.approx([1, 1, 1.5, 1.5, 0.9091, 1, 2, 1, 1])
    long = token_weights(emphasis("x " * 100 + "(y:2)"), 150)
    assert long.nonzero().numel() == 152 and (long == 2).nonzero().flatten().tolist() == [101]
    assert (token_weights(emphasis("x " * 100 + "(y:2)"), 75) == 1).all()


@pytest.mark.parametrize(("words", "positions"), [(75, 77), (76, 152), (151, 227), (400, 227)])
def test_long_prompts_take_as_many_chunks_as_they_need(words: int, positions: int) -> None:
    shot = dataclasses.replace(SHOT, text="x " * words)
    assert encode(Tiny(), encoders(), shot).hidden.shape == (2, positions, 6)
    assert ("400 tokens" in overlong(shot)) == (words == 400)


# ---- rows ----------------------------------------------------------------------------------------------------------------------------


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
