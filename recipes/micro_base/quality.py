"""What is in a picture, by statistics and template matching. No network judges another here."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import models
from engine.diffusion import samplers
from engine.generation.generate import Sampled, first_noise
from engine.models.recognise import recognise
from engine.models.vae import decode_images, encode_images
from recipes.micro_base import creature, drawing, scenes
from recipes.micro_base.autoencoder import as_tensor
from recipes.micro_base.scenes import Colour, Scene

_BORDER = 3  # pixels: the frame that shows the ground
_DIFFERENT = 40.0  # distance in sRGB from which a pixel is not the ground's
_LEAST = 25  # pixels that a shape has at least
_RADII = range(7, 21)  # pixels: the sizes of the outlines that are laid over a shape
_REACH = 6  # pixels: how far a template is moved about
_XYZ = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # of linear sRGB (IEC 61966-2-1)


# ---- scenes --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What a picture shows. Empty words where there is nothing on the ground."""

    shape: str
    colour: str
    position: str
    ground: str


def look(picture: Tensor) -> Seen:
    """Name what is in a picture, uint8 [3, 64, 64]."""
    pixels = picture.float()
    frame = torch.ones(pixels.shape[1:], dtype=torch.bool)
    frame[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    ground = pixels[:, frame].median(1).values
    mask = (pixels - ground[:, None, None]).norm(dim=0) > _DIFFERENT
    named = _nearest(ground, scenes.GROUNDS)
    if int(mask.sum()) < _LEAST:
        return Seen("", "", "", named)
    directions = F.normalize(pixels[:, mask], dim=0).mean(1)  # marks are a darker shade, which has the same direction
    ys, xs = torch.nonzero(mask, as_tuple=True)
    place = (float(xs.float().mean()), float(ys.float().mean()))
    position = min(scenes.POSITIONS, key=lambda name: _distance(place, scenes.POSITIONS[name]))
    colour = max(scenes.COLOURS, key=lambda name: float(directions @ F.normalize(torch.tensor(scenes.COLOURS[name]).float(), dim=0)))
    return Seen(_shape(mask), colour, position, named)


def _shape(mask: Tensor) -> str:
    """The shape whose outline, in some size and place, covers the mask best (intersection over union)."""
    outlines = _outlines()
    y, x = (round(float(place.float().mean())) for place in torch.nonzero(mask, as_tuple=True))
    half = drawing.SIDE // 2 + _REACH
    near = F.pad(mask.float(), (half,) * 4)[y : y + 2 * half, x : x + 2 * half]  # the mask's middle is in the middle
    common = F.conv2d(near[None, None], outlines[:, None])[0]
    either = mask.sum() + outlines.sum((1, 2))[:, None, None] - common
    return scenes.SHAPES[int((common / either).amax((1, 2)).argmax()) // len(_RADII)]


@functools.lru_cache
def _outlines() -> Tensor:
    """Every shape in every size, in the middle of a picture: how much of each pixel is covered, [shapes * radii, 64, 64]."""
    made = []
    for shape in scenes.SHAPES:
        for radius in _RADII:
            canvas = drawing.Canvas((0, 0, 0))
            canvas.polygon(drawing.outline(shape, (drawing.SIDE / 2, drawing.SIDE / 2), radius), (255, 255, 255))
            made.append(as_tensor(canvas.finished())[0] / 255)
    return torch.stack(made)


def _nearest(colour: Tensor, names: Mapping[str, Colour]) -> str:
    seen = _lab(colour)
    return min(names, key=lambda name: float((seen - _lab(torch.tensor(names[name]).float())).norm()))


def _lab(colour: Tensor) -> Tensor:
    """CIELAB (1976) of an sRGB colour, [3] from 0 to 255: distances as the eye sees them, to which a yellowish white is no pink."""
    levels = colour / 255
    linear = torch.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    share = _XYZ @ linear / _XYZ.sum(1)  # of what white has
    fx, fy, fz = torch.where(share > (6 / 29) ** 3, share ** (1 / 3), share * (29 / 6) ** 2 / 3 + 4 / 29)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


@dataclass(frozen=True)
class Accuracy:
    """The share of pictures with the right attribute."""

    right: int
    total: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.right / self.total

    @property
    def margin(self) -> float:
        """Half the 95 % interval (Agresti and Coull 1998)."""
        n = self.total + 4
        p = (self.right + 2) / n
        return 2 * (p * (1 - p) / n) ** 0.5

    def __str__(self) -> str:
        return f"{self.share:.1%} ± {self.margin:.1%}"


def accuracy(pictures: Iterable[Tensor], wanted: Sequence[Scene]) -> dict[str, Accuracy]:
    """How many of the pictures have the shape, colour, position and ground that they should; and `all` four at once."""
    seen = [look(picture) for picture in pictures]
    names = ("shape", "colour", "position", "ground")
    right = {name: [getattr(a, name) == getattr(b, name) for a, b in zip(seen, wanted, strict=True)] for name in names}
    right["all"] = [all(row) for row in zip(*right.values(), strict=True)]
    return {name: Accuracy(sum(values), len(values)) for name, values in right.items()}


# ---- the creature --------------------------------------------------------------------------------------------------------------------


def likeness(pictures: Tensor) -> Tensor:
    """How much like the creature pictures are, float32 [N] in -1..1, from uint8 [N, 3, 64, 64].

    The greatest normalised correlation with any of the templates in any place near the middle, over the template's own pixels in all
    three colours; the ground does not count.
    """
    pixels = F.pad(pictures.float(), (_REACH,) * 4, mode="replicate")
    best = torch.full((len(pictures),), -1.0)
    for template, mask in _templates():
        count = mask.sum() * 3
        flat = mask.expand(3, -1, -1)
        mean = F.conv2d(pixels, flat[None]) / count
        spread = (F.conv2d(pixels.square(), flat[None]) - count * mean.square()).clamp(min=1.0).sqrt()
        scores = F.conv2d(pixels, template[None]) / spread
        best = torch.maximum(best, scores.flatten(1).max(1).values)
    return best


@functools.lru_cache
def _templates() -> tuple[tuple[Tensor, Tensor], ...]:
    """The creature in its typical poses: its pixels, mean 0 and norm 1 over the mask, and the mask [64, 64]."""
    rng = random.Random(0)
    made = []
    for facing in (-1, 1):
        for scale in (0.92, 1.0, 1.08):
            for arms in (-0.7, 0.7):
                pose = creature.Pose(scale=scale, facing=facing, arms=arms)
                white, black = (as_tensor(creature.draw(pose, ground, rng)).float() for ground in ("white", "black"))
                mask = ((white - black).abs().sum(0) < 100).float()
                pixels = white * mask
                pixels = (pixels - pixels.sum() / (3 * mask.sum())) * mask
                made.append((pixels / pixels.norm(), mask))
    return tuple(made)


# ---- making pictures -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A loaded micro model."""

    network: Sampled
    encoders: Mapping[str, nn.Module]
    vae: nn.Module


def load(path: Path) -> Model:
    """A checkpoint as the engine loads any, float32 on the CPU."""
    checkpoint = recognise(path)
    family = models.get(checkpoint.family)
    parts = {part: family.load(checkpoint, part, torch.float32, "cpu") for part in family.parts}
    network = Sampled(family, parts["unet"], torch.device("cpu"), checkpoint.prediction, checkpoint.zero_terminal_snr)
    return Model(network, {part: parts[part] for part in family.text_parts}, parts["vae"])


@torch.no_grad()
def through(model: Model, shown: Tensor) -> Tensor:
    """What the autoencoder makes of pictures, both uint8 [N, 3, H, W]."""
    made = [decode_images(model.vae, encode_images(model.vae, part.float() / 127.5 - 1)[0]) for part in shown.split(50)]
    return _levels(torch.cat(made))


@torch.no_grad()
def pictures(model: Model, prompts: Sequence[str], first_seed: int, scale: float = 7.0, steps: int = 20, batch: int = 50) -> Tensor:
    """A picture a prompt, uint8 [N, 3, 64, 64]; picture i has the seed `first_seed` + i. What `engine.generation` makes, many at once."""
    made = [_batch(model, prompts[start : start + batch], first_seed + start, scale, steps) for start in range(0, len(prompts), batch)]
    return torch.cat(made)


def _batch(model: Model, prompts: Sequence[str], first_seed: int, scale: float, steps: int) -> Tensor:
    network, count, side = model.network, len(prompts), drawing.SIDE
    family = network.family
    scheduler = samplers.make("euler", network.prediction, zero_terminal_snr=network.zero_terminal_snr)
    scheduler.set_timesteps(steps)
    shape = (family.latent.channels, side // family.latent.stride, side // family.latent.stride)
    latents = torch.stack([first_noise(first_seed + number, shape)[0] for number in range(count)]) * scheduler.init_noise_sigma
    cond = family.encode_text(model.encoders, family.tokenize([""] * count + list(prompts)))
    size = torch.tensor([[side, side, 0, 0, side, side]] * (2 * count))
    for t in scheduler.timesteps:
        noisy = scheduler.scale_model_input(torch.cat([latents, latents]), t)
        negative, prompt = family.predict(network.unet, noisy, t.float().expand(2 * count), cond, size).float().chunk(2)
        latents = scheduler.step(negative + scale * (prompt - negative), t, latents, return_dict=False)[0]
    return _levels(decode_images(model.vae, family.latent.unscaled(latents)))


def _levels(pixels: Tensor) -> Tensor:
    """-1..1 -> uint8."""
    return (pixels * 127.5 + 127.5).nan_to_num(0.0).round().clamp(0, 255).to(torch.uint8)
