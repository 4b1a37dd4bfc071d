"""The work of `sample`: base model, LoRA files, prompts -> pictures. A page has a row for each file.

Where these go is said in `compare`. Networks are loaded in the order of need, and dropped before the next: text encoders, U-Net, VAE.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from engine import adapterfiles, adapters, allocation, files, headers, tensorfile
from engine.adapters import file
from engine.adapters.base import Method
from engine.config.schema import Config
from engine.errors import UserError
from engine.generation import compare, png, promptfile
from engine.generation.conditioning import encode, overlong
from engine.generation.decoding import decode
from engine.generation.generate import Sampled
from engine.generation.page import Row
from engine.generation.png import Provenance
from engine.generation.prompt import Prompt, Shot, parse_line
from engine.generation.samples import Made, Painted, Painter, PictureProgress, plan, sampler_names
from engine.models.base_model import Base, open_base
from engine.models.family import Cond, Family

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is to be made, and with what. None is what the model's file and family say."""

    base: Base
    prompts: tuple[Prompt, ...]
    folder: Path | None = None  # gets page and pictures; None: the first LoRA's folder
    loras: tuple[Path, ...] = ()  # a row of pictures for each
    base_row: bool = True  # also a row without any
    size: tuple[int, int] | None = None  # width, height
    sampler: str = "euler_a"
    karras: bool = False
    seed: int = 42  # draws the seeds of prompts that name none
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    no_half_vae: bool = False
    fallback: Path = Path("output") / "sample"  # gets them without a LoRA, or where its folder cannot be written


@dataclass(frozen=True)
class _Lora:
    """A LoRA file as read. The tensors are the two parts' own."""

    path: Path
    label: str  # on the page
    unet: dict[str, Tensor]
    text: dict[str, Tensor]
    step: int | None
    epoch: int | None


def run(
    config: Config,
    *,
    device: torch.device,
    dtype: torch.dtype,
    loras: Sequence[str],
    prompts: Sequence[str],
    folder: str | None,
    say: Say,
    progress: PictureProgress | None = None,
) -> Made:
    """`sample` by the settings of a run. `prompts` are lines as in a prompt file; without any, `sample_prompts` is read.

    Page and pictures go into `folder`, by default the first LoRA's, else `<output_dir>/sample`. Raises UserError where model or prompts
    are missing.
    """
    model, wanted = config.model, config.sample
    for lora in loras:
        _require_file(Path(lora))  # first of all: the settings that name the base model may lie beside it
    if not model.pretrained_model_name_or_path:
        hint = "add --pretrained_model_name_or_path, or --config with the settings of the run that made the LoRA (settings.toml beside it)"
        raise UserError("no base model is named", hint, where="pretrained_model_name_or_path")
    names = sampler_names()
    read = tuple(parse_line(line, "--prompt", names) for line in prompts)
    if not read and wanted.sample_prompts:
        read = promptfile.read(Path(wanted.sample_prompts), names)
    if not read:
        raise UserError("no prompt is given", 'add --prompt "a cat --d 42", or --sample_prompts with a text file', where="--prompt")
    base, notices = open_base(
        model.pretrained_model_name_or_path,
        Path(config.data.cache_dir),
        family=model.family,
        vae=model.vae,
        v_parameterization=model.v_parameterization,
        zero_terminal_snr=model.zero_terminal_snr,
        clip_skip=model.clip_skip,
    )
    for notice in notices:
        say(notice)
    request = Request(
        base=base,
        prompts=read,
        folder=Path(folder) if folder else None,
        loras=tuple(Path(lora) for lora in loras),
        size=config.data.resolution,
        sampler=wanted.sample_sampler,
        karras=wanted.sample_karras,
        seed=config.training.seed,
        device=device,
        dtype=dtype,
        no_half_vae=model.no_half_vae,
        fallback=Path(config.save.output_dir) / "sample",
    )
    return sample(request, say, progress)


def sample(request: Request, say: Say, progress: PictureProgress | None = None) -> Made:
    """Make all pictures; returns the page, every picture and what should be said of them.

    Raises UserError for files that are not what they should be, and a LoRA that has no place in this model.
    """
    base = request.base
    family = base.family
    side = base.resolution
    planned = plan(request.prompts, size=request.size or (side, side), sampler=request.sampler, karras=request.karras, seed=request.seed)
    shots = tuple(dict.fromkeys(planned))
    paths, again = compare.distinct(request.loras)
    repeated = (f"{path}: this file was named before; it gets one row" for path in again)
    for notice in (*filter(None, map(overlong, shots)), *repeated):
        say(notice)
    loras = [_read(path, label) for path, label in zip(paths, compare.labels(paths), strict=True)]
    rows: list[_Lora | None] = [*([None] if request.base_row or not loras else []), *loras]
    folder, told = compare.place(request.folder, paths[0] if paths else None, request.fallback)
    if told:
        say(told)
    say("encoding the prompts")
    conditions = _encode(request, shots, rows)
    allocation.new_phase(request.device)
    say("loading the U-Net")
    unet = base.load("unet", request.dtype, request.device)
    vae = base.load("vae", family.vae_dtype(request.dtype, request.no_half_vae), "cpu")  # it waits in host memory
    network = Sampled(family, unet, request.device, base.prediction, base.zero_terminal_snr)
    sheet = compare.Page(folder, shots)
    made: list[Made] = []
    for lora, conds in zip(rows, conditions, strict=True):
        method = _attach(lora.unet, family, {"unet": unet}, lora.path) if lora else None
        painter = Painter(
            network,
            shots,
            conds.__getitem__,
            lambda latents: decode(family, vae, latents, request.device),
            methods=[method] if method else [],
            progress=progress,
        )
        made.append(_written(sheet, base.path.stem, lora, painter.paint(base=lora is None), _origin(request, lora)))
        if method:
            method.detach()
    pictures = tuple(picture for row in made for picture in row.pictures)
    return Made(made[-1].page, pictures, tuple(notice for row in made for notice in row.notices))


def _written(sheet: compare.Page, model: str, lora: _Lora | None, painted: Painted, origin: Provenance) -> Made:
    """A row's pictures as files, and shown on the page. `model` is the base model's name."""
    stem = lora.path.stem if lora else f"{model}_base"
    pictures = [
        sheet.keep(stem, f"{number:02d}_{shot.seed}", png.encoded(pixels, png.parameters(shot, origin)))
        for number, (shot, pixels) in enumerate(zip(painted.shots, painted.pixels, strict=True))
    ]
    row = Row(lora.label, lora.step or 0, lora.epoch, None, False) if lora else Row(model, 0, None, None, True)
    return Made(sheet.add(row, pictures), tuple(pictures), tuple(f"{row.name}: {notice}" for notice in painted.notices))


def _require_file(path: Path) -> None:
    """Raise UserError where there is no such LoRA file."""
    if not files.is_there(path) or path.is_dir():
        raise UserError("there is no LoRA file of this name", "check the path", where=str(path))


def _read(path: Path, label: str) -> _Lora:
    """A LoRA file, taken apart, and what its row is called. Raises UserError where it is none."""
    _require_file(path)
    tensors = tensorfile.read(path)
    file.modules(tensors, str(path))
    unet = {name: tensor for name, tensor in tensors.items() if adapterfiles.part(name) == "unet"}
    text = {name: tensor for name, tensor in tensors.items() if name not in unet}
    metadata = headers.read(path).metadata
    return _Lora(path, label, unet, text, _number(metadata, "ss_steps"), _number(metadata, "ss_epoch"))


def _number(metadata: Mapping[str, str], key: str) -> int | None:
    """A whole number from a file's metadata; None where there is none ("None" too, as sd-scripts writes)."""
    value = metadata.get(key, "")
    return int(value) if value.isdigit() else None


def _attach(tensors: Mapping[str, Tensor], family: Family, networks: Mapping[str, nn.Module], path: Path) -> Method | None:
    """The file's adapters in front of the networks' layers; None where it has none for them. Raises UserError where one finds no layer."""
    if not tensors:
        return None
    sites = [site for part, network in networks.items() for site in family.sites(part, network)]
    method = adapters.from_file(sites, tensors, str(path))
    method.attach()
    return method


def _encode(request: Request, shots: Sequence[Shot], rows: Sequence[_Lora | None]) -> list[dict[Shot, Cond]]:
    """The conditioning of every picture of every row, in host memory; the encoders are gone afterwards."""
    family = request.base.family
    encoders = {part: request.base.load(part, request.dtype, request.device) for part in family.text_parts}
    found = []
    for lora in rows:
        method = _attach(lora.text, family, encoders, lora.path) if lora else None
        conds = {}
        for shot in shots:
            if method:
                method.strength = shot.strength
            cond = encode(family, encoders, shot, request.base.clip_skip)
            conds[shot] = family.unpack({name: tensor.cpu() for name, tensor in family.pack(cond).items()})
        if method:
            method.detach()
        found.append(conds)
    return found


def _origin(request: Request, lora: _Lora | None) -> Provenance:
    """What the pictures' files say they were made with."""
    base = request.base
    origin = Provenance(model=base.path.stem, model_hash=base.file_hash()[:10] or None, clip_skip=base.clip_skip)
    if lora:
        content = files.sha256(lora.path, headers.read(lora.path).data_start)  # what `sshs_model_hash` is the hash of
        made_with = ((lora.path.stem, content[:12]),)
        origin = dataclasses.replace(origin, adapters=made_with, training_step=lora.step, training_epoch=lora.epoch)
    return origin
