"""The micro models' recipe: the pictures and what is seen in them, the first weights, snapshots, and a few steps of each training."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from engine import models
from engine.diffusion.objective import draw
from engine.errors import UserError
from engine.generation import conditioning, decoding, generate
from engine.generation.prompt import Shot
from recipes.micro_base import autoencoder, card, dataset, diffusion, drawing, quality, scenes, words
from recipes.micro_base.__main__ import main
from recipes.micro_base.architecture import MODELS
from recipes.micro_base.autoencoder import Stage
from recipes.micro_base.diffusion import Phase
from recipes.micro_base.snapshot import Snapshot
from recipes.micro_base.weights import network, tensor

CPU = torch.device("cpu")


def test_a_tenth_of_the_combinations_is_held_out() -> None:
    assert len(scenes.ALL) == len(scenes.TRAINED) + len(scenes.HELD_OUT) == 4500
    assert 0.05 < len(scenes.HELD_OUT) / len(scenes.ALL) < 0.15
    unseen = {(scene.shape, scene.colour, scene.position, scene.ground) for scene in scenes.HELD_OUT}
    assert not unseen & {(scene.shape, scene.colour, scene.position, scene.ground) for scene in scenes.TRAINED}


def test_some_captions_have_one_word_wrong_and_none_tells_of_what_is_held_out() -> None:
    shown = scenes.drawn(random.Random(0), 2000)
    told = list(dataset.captions(shown, 1))
    wrong = [(scene, text) for scene, text in zip(shown, told, strict=True) if text != scene.caption_file()]
    assert 0.9 * dataset.MISTAKEN < len(wrong) / len(shown) < 1.1 * dataset.MISTAKEN
    changed = [[*map(str.__ne__, scene.tags().split(", "), text.split("\n")[0].split(", "))] for scene, text in wrong]
    assert all(sum(words) == 1 for words in changed)
    assert all(map(any, zip(*changed, strict=True)))  # each attribute
    assert not set(told) & {scene.caption_file() for scene in scenes.HELD_OUT}


def test_every_attribute_is_seen_in_what_the_renderer_draws() -> None:
    rng = random.Random(0)
    wanted = scenes.drawn(rng, 200, scenes.ALL)
    found = quality.accuracy([autoencoder.as_tensor(drawing.draw(scene, rng)) for scene in wanted], wanted)
    assert all(value.share == 1.0 for value in found.values()), found


def test_a_shape_is_known_by_its_outline_however_soft_its_edges() -> None:
    """Stretched to its bounding box, a small star without its tips is a circle: 20 of these 300 were misread."""
    rng = random.Random(5)
    wanted = scenes.drawn(rng, 300, scenes.ALL)
    drawn = torch.stack([autoencoder.as_tensor(drawing.draw(scene, rng)) for scene in wanted]).float()
    soft = F.avg_pool2d(F.pad(drawn, (2,) * 4, mode="replicate"), 5, 1).round().to(torch.uint8)
    assert quality.accuracy(soft, wanted)["shape"].share == 1.0


@pytest.mark.parametrize(
    ("ground", "colour"),
    [("white", (216, 217, 204)), ("white", (205, 205, 205)), ("black", (50, 58, 52)), ("pink", (235, 165, 180)), ("sky", (145, 190, 210))],
)
def test_a_ground_has_the_name_that_the_eye_gives_it(ground: str, colour: tuple[int, int, int]) -> None:
    """By the distance in sRGB the first one, a yellowish white, was pink."""
    picture = torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, 64, 64)
    assert quality.look(picture).ground == ground


def test_likeness_tells_the_creature_from_everything_else() -> None:
    assert float(quality.likeness(card.creatures(30)).min()) > 0.8
    assert float(quality.likeness(card.drawn(30)).max()) < 0.6


def test_an_empty_picture_shows_nothing() -> None:
    assert quality.look(torch.full((3, 64, 64), 128, dtype=torch.uint8)) == quality.Seen("", "", "", "grey")


def test_a_tensor_depends_on_its_name_and_the_seed_alone() -> None:
    one = tensor("part.layer.weight", (8, 8), 1)
    tensor("part.other.weight", (100,), 1)
    assert torch.equal(tensor("part.layer.weight", (8, 8), 1), one)
    assert not torch.equal(tensor("part.layer.weight", (8, 8), 2), one)
    assert not torch.equal(tensor("part.layer2.weight", (8, 8), 1), one)
    assert one.std() == pytest.approx(8**-0.5, rel=0.2)


def test_a_flat_pictures_brightness_passes_the_last_normalisation() -> None:
    """Without the frames all flat pictures would leave the encoder alike."""
    spec = MODELS["micro-sd"][1]["vae"]
    vae = network(spec, "vae", 1)
    flat = torch.linspace(-1, 1, 9)[:, None, None, None].expand(9, 3, 64, 64)
    seen: list[torch.Tensor] = []
    vae.encoder.conv_norm_out.register_forward_hook(lambda module, given, out: seen.append(out))
    with torch.no_grad():
        vae.encoder(flat)
    middle = seen[0][:, ::2, 4, 4]
    steps = middle.diff(dim=0).abs()
    assert float(steps.mean()) > 0.02 and float(steps.max() / steps.mean()) < 20


@pytest.mark.slow
def test_a_training_goes_on_from_its_snapshot_as_if_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "BATCH", 2)
    stage = Stage("crops", 4, 7e-4, autoencoder.CROP, decoder_only=False)
    data = autoencoder.pictures(1, 20)

    def train(name: str) -> dict[str, torch.Tensor]:
        vae = network(MODELS["micro-sd"][1]["vae"], "vae", 1)
        autoencoder.run(stage, vae, data, 1, tmp_path / name, False, lambda line: None)
        return vae.state_dict()

    straight = train("straight.pt")
    written = Snapshot.write

    def stop_after_two(self: Snapshot, step: int) -> None:
        written(self, step)
        if step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Snapshot, "due", lambda self: True)
    monkeypatch.setattr(Snapshot, "write", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        train("broken.pt")
    monkeypatch.setattr(Snapshot, "write", written)
    resumed = train("broken.pt")
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())


@pytest.mark.slow
def test_only_the_decoder_moves_in_its_own_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "BATCH", 2)
    vae = network(MODELS["micro-sd"][1]["vae"], "vae", 1)
    data = autoencoder.pictures(1, 20)
    before = vae.encode(data[:4].float() / 127.5 - 1).latent_dist.mean
    made = vae.decode(before).sample
    autoencoder.head_start(vae, data.float() / 127.5 - 1)
    before = vae.encode(data[:4].float() / 127.5 - 1).latent_dist.mean
    stage = Stage("decoder", 2, 1e-3, 64, decoder_only=True)
    autoencoder.run(stage, vae, data, 1, tmp_path / "x.pt", False, lambda line: None)
    assert torch.equal(vae.encode(data[:4].float() / 127.5 - 1).latent_dist.mean, before)
    assert not torch.equal(vae.decode(before).sample, made)


@pytest.mark.slow
def test_normalising_changes_the_latents_and_not_the_pictures() -> None:
    vae = network(MODELS["micro-sd"][1]["vae"], "vae", 1)
    pixels = autoencoder.pictures(1, 20).float() / 127.5 - 1
    autoencoder.head_start(vae, pixels)
    with torch.no_grad():
        before = vae.decode(vae.encode(pixels).latent_dist.mean).sample
        autoencoder.normalise(vae, pixels, 0.18215)
        latents = vae.encode(pixels).latent_dist.mean
        after = vae.decode(latents).sample
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-3)
    assert torch.allclose(latents.std((0, 2, 3)) * 0.18215, torch.ones(4), atol=1e-3)
    assert torch.allclose(before, after, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_diffusion_training_uses_the_engines_parts_and_moves_every_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "PICTURES", 70)
    monkeypatch.setattr(words, "STEPS", 0)  # the next test's
    # What closes the blocks starts at zero: the encoders feel the loss from the fourth step on.
    monkeypatch.setattr(diffusion, "PHASES", (Phase("first", 6, 1e-3, 0), Phase("second", 2, 1e-3, 0)))
    monkeypatch.setattr(diffusion, "BATCH", 2)
    family, specs = MODELS[name]
    vae = network(specs["vae"], "vae", 1)
    said: list[str] = []

    def train() -> dict[str, torch.nn.Module]:
        return diffusion.train(name, family, specs, vae, 1, tmp_path, CPU, False, said.append)

    parts = train()
    assert set(parts) == set(models.get(family).parts)
    for part, spec in specs.items():
        before = network(spec, part if part == "vae" else f"{family}.{part}", 1).state_dict()
        moved = any(not torch.equal(value, before[key]) for key, value in parts[part].state_dict().items())
        assert moved == (part != "vae"), part

    (tmp_path / f"{name}-second.pt").unlink()
    again = train()
    assert all(torch.equal(value, again["unet"].state_dict()[key]) for key, value in parts["unet"].state_dict().items())
    monkeypatch.setattr(dataset, "PICTURES", 0)  # where every phase has its snapshot, no picture is drawn
    train()


@pytest.mark.parametrize("name", MODELS)
def test_words_that_decide_the_picture_come_to_sound_different(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "STEPS", 30)
    monkeypatch.setattr(words, "BATCH", 8)
    monkeypatch.setattr(words, "WARMUP", 1)
    family_name, specs = MODELS[name]
    family = models.get(family_name)
    encoders = {part: network(specs[part], f"{family_name}.{part}", 1).requires_grad_(True) for part in family.text_parts}
    mean = torch.stack([torch.full((4, 8, 8), value) for value in (-5.0, 5.0)])
    data = dataset.Data(mean, torch.zeros_like(mean), ("red circle, left", "red circle, right"))

    def apart() -> float:
        """How far what is heard of the two captions lies apart, beside the length of their mean."""
        with torch.no_grad():
            heard = family.encode_text(encoders, family.tokenize(data.captions)).hidden.mean(1)
        return float((heard[0] - heard[1]).norm() / heard.mean(0).norm())

    before = apart()
    words.teach(family, encoders, data, 1, CPU, lambda line: None)
    assert apart() > 3 * before


def test_a_damaged_snapshot_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"junk\n")
    layer = torch.nn.Linear(1, 1)
    with pytest.raises(UserError, match=r"x\.pt.*damaged"):
        Snapshot(tmp_path / "x.pt", {"layer": layer}, torch.optim.AdamW(layer.parameters())).restore()


def test_a_folder_that_cannot_be_made_is_refused_before_any_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert main(["--out", str(tmp_path / "file"), "--work", str(tmp_path / "work")]) == 1
    assert "--out" in capsys.readouterr().err


def test_batches_repeat_and_start_anywhere() -> None:
    data = dataset.Data(torch.randn(8, 4, 8, 8), torch.ones(8, 4, 8, 8), tuple(f"circle, red\na red circle {n}" for n in range(8)))
    family = models.get("sd1")
    stream = diffusion.batches(family, data, 1, range(3))
    batches = [next(stream) for _ in range(3)]
    again = next(diffusion.batches(family, data, 1, range(2, 3)))
    assert torch.equal(batches[2].noise, again.noise) and torch.equal(batches[2].ids, again.ids) and batches[2].samples == again.samples
    assert torch.equal(batches[1].noise[0], draw(1, diffusion.BATCH, (4, 8, 8)).noise)
    shown = [sample.item for batch in batches for sample in batch.samples]
    assert all(sorted(shown[start : start + 8]) == list(range(8)) for start in range(0, len(shown) - 7, 8))


def test_many_pictures_at_once_are_those_that_the_engine_makes(micro_sd: Path) -> None:
    model = quality.load(micro_sd)
    prompt = "circle, red, large, plain, left, white background"
    (_, second) = quality.pictures(model, ["a star", prompt], 41, scale=3.0, steps=4)
    shot = Shot(prompt, "", 64, 64, 42, 4, 3.0, "euler", False, 1.0)
    cond = conditioning.encode(model.network.family, model.encoders, shot)
    latents = generate.generate(model.network, shot, cond)
    (whole,) = decoding.decode(model.network.family, model.vae, [latents], CPU)
    assert int((whole.permute(2, 0, 1).int() - second.int()).abs().max()) <= 1


def test_the_card_of_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["card", "nosuch.safetensors"])
    with pytest.raises(SystemExit):
        card.main()
    told = capsys.readouterr().err
    assert "nosuch.safetensors" in told and "pretrained_model_name_or_path" not in told


def test_the_models_are_what_their_card_says(root: Path, micro_sd: Path, micro_sdxl: Path) -> None:
    from engine import files

    told = (root / "models" / "micro" / "README.md").read_text(encoding="utf-8")
    for path in (micro_sd, micro_sdxl):
        assert files.sha256(path) in told, path.name
    assert micro_sd.stat().st_size <= 16_000_000 and micro_sdxl.stat().st_size <= 24_000_000
