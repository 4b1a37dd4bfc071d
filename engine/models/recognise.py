"""Which model a file or folder is; or a refusal that says what it is. Names and shapes alone decide.

No weight is read and no torch imported. What comes out is complete: every tensor of every network has been accounted for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from engine import files
from engine.errors import UserError
from engine.models import configs, refusals, specs
from engine.models.accounting import FileNetwork, extra_tensors
from engine.models.family import Checkpoint, Marks
from engine.models.layouts import LAYOUTS, SD1, SDXL, VAE, FamilyLayout, PartRow, PartSource, layout_of
from engine.models.refusals import few
from engine.models.tensor_sources import Source, open_file, open_folder, read_json
from engine.models.specs import ClipSpec, Json, Shapes, Spec, UnetSpec, VaeSpec

# Outside every network: the exponential moving average, schedule constants, training leftovers, and the marks themselves.
_LOOSE = re.compile(
    r"model_ema\.|(betas|alphas_cumprod|alphas_cumprod_prev|sqrt_\w+|log_one_minus_\w+|posterior_\w+|lvlb_weights|logvar|scale_factor"
    r"|v_pred|ztsnr|global_step|epoch)$|denoiser\.|loss\.|(cond_stage_model|conditioner\.embedders\.0)\.logit_scale$"
)
_FLOATS = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2")
_INPUTS = {9: "an inpainting model (its U-Net takes 9 channels)", 8: "an InstructPix2Pix model (its U-Net takes 8 channels)"}
_SCHEDULE: Json = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
}
_V_WORDS = ("v", "v_prediction", "v-prediction")


def recognise(path: Path) -> Checkpoint:
    """The base model at `path`: a .safetensors, a .ckpt or a diffusers folder. Raises UserError naming what else it is."""
    if not files.is_there(path):
        raise refusals.not_found(path)
    return _folder(path) if path.is_dir() else _file(path)


def recognise_vae(path: Path, family: str) -> PartSource:
    """An autoencoder for `family`: from a checkpoint, a VAE file (either naming), a diffusers model or a VAE folder. Raises UserError."""
    layout = layout_of(family)
    if not files.is_there(path):
        raise refusals.not_found(path, "vae")
    if path.is_dir():
        return _network_folder(path / "vae" if (path / "model_index.json").is_file() else path, VAE, layout, {})
    source = open_file(path)
    for prefix in (*VAE.prefixes, ""):
        shapes = source.part(prefix)
        if not any(name.startswith(("encoder.conv_in.", "decoder.conv_in.")) for name in shapes):
            continue
        original = any(name.startswith(("encoder.down.", "encoder.mid.")) for name in shapes)
        make = FileNetwork.of_file if original else FileNetwork.of_folder
        network = make(f"{layout.title} vae", path, prefix, "vae", shapes)
        _refuse_other_family(source, layout)
        spec = _examined(network, VAE, layout, {})
        return PartSource(path, prefix, "vae", "original" if original else "diffusers", spec)
    refusal = refusals.unknown(path, list(source.entries))
    raise UserError(refusal.message, "give a VAE file, a VAE folder or a model that contains one; or leave `vae` out", where=str(path))


def _file(path: Path) -> Checkpoint:
    """A model in one file, in the original layout."""
    source = open_file(path)
    layout = _layout_of(source)
    networks: dict[str, PartSource] = {}
    for row in layout.parts:
        prefix = next((prefix for prefix in row.prefixes if source.part(prefix)), "")
        if not prefix:
            raise UserError(
                f"this {layout.title} model has no {row.name} (`{row.prefixes[0]}...`)", "give a full checkpoint", where=str(path)
            )
        network = FileNetwork.of_file(f"{layout.title} {row.name}", path, prefix, row.kind, source.part(prefix))
        networks[row.name] = PartSource(path, prefix, row.kind, "original", _examined(network, row, layout, networks))
    prefixes = tuple(part.prefix for part in networks.values())
    strays = [name for name in source.entries if not name.startswith(prefixes) and not _LOOSE.match(name)]
    if strays:
        raise extra_tensors(strays, f"{layout.title} model", path)
    _check_dtypes(source, prefixes)
    marks, marks_from = _file_marks(source)
    return Checkpoint(path, layout.name, "original", marks, marks_from, _notes(source, marks), networks, _resolution(source))


def _layout_of(source: Source) -> FamilyLayout:
    """Which family a single file belongs to. Raises UserError for everything else."""
    names = list(source.entries)
    entry = refusals.kind(names)
    if entry:
        raise UserError(f"this is {entry.what}", entry.hint, where=str(source.path))
    for layout in (SDXL, SD1):
        encoder = [row.prefixes[0] for row in layout.parts if row.is_text][-1]
        if source.part(encoder) and source.part("model.diffusion_model."):
            return layout
    raise refusals.unknown(source.path, names)


def _folder(path: Path) -> Checkpoint:
    """A model in a diffusers folder: one folder a network, each with its configuration."""
    index_path = path / "model_index.json"
    if not index_path.is_file():
        raise _no_model_index(path)
    pipeline = str(read_json(index_path).get("_class_name"))
    if not pipeline.startswith("StableDiffusion") or pipeline.startswith("StableDiffusion3"):
        raise UserError(f"this is a {pipeline}, which is not supported", "give a Stable Diffusion 1.x or SDXL model", where=str(index_path))
    two = (path / "text_encoder_2").is_dir()
    if two and not (path / "text_encoder").is_dir():
        raise UserError("this is the SDXL refiner, which is not a base model", "give the SDXL base model", where=str(path))
    layout = SDXL if two else SD1
    networks: dict[str, PartSource] = {}
    for row in layout.parts:
        networks[row.name] = _network_folder(path / row.name, row, layout, networks)
    marks, marks_from = _scheduler_marks(path / "scheduler" / "scheduler_config.json")
    return Checkpoint(path, layout.name, "diffusers", marks, marks_from, (), networks)


def _network_folder(folder: Path, row: PartRow, layout: FamilyLayout, known: Mapping[str, PartSource]) -> PartSource:
    """One network of a diffusers folder, its configuration held against its tensors."""
    source = open_folder(folder)
    where = folder / "config.json"
    config = read_json(where)
    if row.is_text and layout is SD1 and config.get("hidden_act") == "gelu":
        raise UserError(
            "this is a Stable Diffusion 2.x model, which is not supported yet", "give a 1.x or SDXL model", where=str(folder.parent)
        )
    network = FileNetwork.of_folder(f"{layout.title} {row.name}", folder, "", row.kind, source.shapes)
    spec = _examined(network, row, layout, known, config)
    _check_dtypes(source, ("",))
    return PartSource(folder, "", row.kind, "diffusers", spec)


def _no_model_index(path: Path) -> UserError:
    """A folder that is not a diffusers model: say what it is, and which file in it may be meant."""
    inside = refusals.models_in(path)
    message = "this folder is not a diffusers model: it has no `model_index.json`"
    hint = "give a .safetensors file, or a whole diffusers folder"
    if (path / "config.json").is_file():
        name = read_json(path / "config.json").get("_class_name", "one network")
        message, hint = f"this folder holds {name} alone, not a whole model", "give the folder above it, which has `model_index.json`"
    elif inside:
        hint = f"give one of the models in it: {', '.join(str(entry) for entry in inside[:5])}"
    return UserError(message, hint, where=str(path))


def _examined(network: FileNetwork, row: PartRow, layout: FamilyLayout, known: Mapping[str, PartSource], config: Json | None = None) -> Spec:
    """The network's description, after every tensor has been found and has its shape. Raises UserError."""
    encoders = [part.spec for part in known.values() if isinstance(part.spec, ClipSpec)]

    def describe(shapes: Shapes) -> Spec:
        if row.kind == "vae":
            return specs.vae(shapes, layout.scale)
        if row.kind == "unet":
            return specs.unet(shapes, layout.name, sum(encoder.projection for encoder in encoders))
        return specs.clip(shapes, row.activation)

    spec = network.described(describe)
    if config is not None:
        spec = configs.decided(spec, config, network.path / "config.json")
    if isinstance(spec, UnetSpec) and spec.in_channels != 4:
        kind = _INPUTS.get(spec.in_channels, f"a variant whose U-Net takes {spec.in_channels} channels")
        raise UserError(
            f"this is {kind}, which is not supported", "give the normal model it was made from (4 channels)", where=str(network.path)
        )
    if isinstance(spec, VaeSpec):
        _check_vae(spec, layout, network.path)
    network.account(spec)
    if isinstance(spec, UnetSpec) and spec.context != sum(encoder.width for encoder in encoders):
        raise UserError(
            f"the {network.what} reads text {spec.context} wide, but the text encoders make {sum(encoder.width for encoder in encoders)}",
            "the parts do not belong together: give another model",
            where=str(network.path),
        )
    return spec


def _check_vae(spec: VaeSpec, layout: FamilyLayout, path: Path) -> None:
    """The latents that the family's U-Net knows. The scale is told only by a folder's configuration."""
    if (spec.stride, spec.latent_channels, round(spec.scale, 5)) != (8, 4, layout.scale):
        raise UserError(
            f"this VAE makes {spec.latent_channels} channels at 1/{spec.stride} of the size, scaled by {spec.scale:g}; "
            f"{layout.title} needs 4 at 1/8, scaled by {layout.scale}",
            f"give a VAE for {layout.title}",
            where=str(path),
        )


def _check_dtypes(source: Source, prefixes: tuple[str, ...]) -> None:
    """Weights are floating point; integers mean a quantised copy. (Old files' `position_ids` are integers, and ignored.)"""
    entries = source.entries
    odd = [
        name for name in entries if name.startswith(prefixes) and not name.endswith("position_ids") and entries[name].dtype not in _FLOATS
    ]
    if odd:
        raise UserError(
            f"the model is quantised or damaged: {few(odd)} hold {entries[odd[0]].dtype}",
            "give the fp16, bf16 or fp32 model",
            where=str(source.path),
        )


def _file_marks(source: Source) -> tuple[Marks, str]:
    """What a single file says: the tensors `v_pred` and `ztsnr` (ComfyUI, Forge), else its modelspec metadata."""
    zero = "ztsnr" in source.entries
    if "v_pred" in source.entries:
        return Marks("v_prediction", zero), "the tensors `v_pred` and `ztsnr`" if zero else "the tensor `v_pred`"
    for key in ("modelspec.prediction_type", "modelspec.predict_key"):
        value = source.metadata.get(key, "").lower()
        if value in _V_WORDS:
            return Marks("v_prediction", zero), f"the metadata `{key}`"
        if value in ("epsilon", "eps"):
            return Marks("epsilon", zero), f"the metadata `{key}`"
    return Marks("epsilon", zero), "the tensor `ztsnr`" if zero else "nothing in the file"


def _resolution(source: Source) -> int | None:
    """The side of the square that `modelspec.resolution` ("1024x1024") stands for, as a multiple of 64; None for what cannot be one."""
    found = re.fullmatch(r"\s*(\d{2,4})\s*[xX]\s*(\d{2,4})\s*", source.metadata.get("modelspec.resolution", ""))
    side = round(math.sqrt(int(found[1]) * int(found[2])) / 64) * 64 if found else 0
    return side if 64 <= side <= 2048 else None


def _scheduler_marks(path: Path) -> tuple[Marks, str]:
    """What a diffusers folder says in its scheduler's configuration. Raises UserError for a noise schedule of another kind."""
    if not path.is_file():
        return Marks(), "nothing in the folder"
    config = read_json(path)
    for key, value in _SCHEDULE.items():
        if config.get(key, value) != value:
            raise UserError(
                f"`{key}` = {config[key]} is not Stable Diffusion's noise schedule ({value})", "give a model with it", where=str(path)
            )
    prediction = config.get("prediction_type", "epsilon")
    zero = bool(config.get("rescale_betas_zero_snr"))
    if prediction == "v_prediction":
        return Marks("v_prediction", zero), path.name
    if prediction == "epsilon":
        return Marks("epsilon", zero), path.name
    raise UserError(f"`prediction_type` = {prediction!r} is not supported", "give a model that predicts epsilon or v", where=str(path))


def _notes(source: Source, marks: Marks) -> tuple[str, ...]:
    """Sentences that the user should read."""
    notes = []
    if marks.prediction == "epsilon" and re.search(r"v[-_ ]?(pred|param)", source.path.stem, re.IGNORECASE):
        notes.append("the file's name mentions v-prediction, but nothing in the file does: if it predicts v, set `v_parameterization = true`")
    averaged = sum(1 for name in source.entries if name.startswith("model_ema."))
    if averaged:
        notes.append(f"the file also holds an averaged copy of the U-Net ({averaged:,} tensors), which is not used")
    return tuple(notes)


def _refuse_other_family(source: Source, layout: FamilyLayout) -> None:
    """The families' autoencoders have equal shapes; inside a whole checkpoint the text encoders tell which it is."""
    for other in LAYOUTS:
        encoder = [row.prefixes[0] for row in other.parts if row.is_text][-1]
        if other is not layout and source.part(encoder):
            raise UserError(
                f"this is a {other.title} model; its VAE does not fit {layout.title}",
                f"give a VAE for {layout.title}",
                where=str(source.path),
            )
