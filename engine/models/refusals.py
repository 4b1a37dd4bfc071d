"""Files that are no base model, and what to say about each. They are told by the names in them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import adapterfiles
from engine.errors import UserError, nearest

MODEL_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".bin")
MODELS_FOLDER = Path("models")
_BASE = "give a Stable Diffusion 1.x or SDXL base model (a single .safetensors of 2 to 7 GB, or a diffusers folder)"


@dataclass(frozen=True)
class Refusal:
    """One kind of file that is recognised and refused. `pattern` is searched in the tensors' names."""

    what: str
    pattern: str
    hint: str = _BASE


_ADAPTER = Refusal(
    "a LoRA (or another small adapter), not a base model",
    "",  # told by `adapterfiles`
    "give the base model it was trained on here; an adapter to continue from goes into `network_weights`",
)

# In order: the first that matches any name is the answer.
_KINDS = (
    Refusal("a ControlNet-LLLite", r"^lllite_unet_"),
    Refusal("a ControlNet", r"^(control_model\.|controlnet_|input_hint_block\.|zero_convs\.)"),
    Refusal("an IP-Adapter", r"^(ip_adapter|image_proj)\."),
    Refusal("an AnimateDiff motion module", r"motion_modules?\."),
    Refusal("a textual inversion embedding", r"^(emb_params|string_to_param\.\*|clip_[lg]|<.+>|\*)$"),
    Refusal("a Stable Diffusion 3 model, which is not supported yet", r"(^|\.)joint_blocks\.\d"),
    Refusal("a FLUX model, which is not supported yet", r"(^|\.)(double_blocks|single_blocks|single_transformer_blocks)\.\d"),
    Refusal("a PixArt model, which is not supported yet", r"(^|\.)adaln_single\."),
    Refusal("a Lumina model, which is not supported yet", r"(^|\.)(cap_embedder|noise_refiner)\."),
    Refusal("a Stable Cascade model, which is not supported", r"(^|\.)(effnet_mapper|clip_txt_mapper)\."),
    Refusal("a video or other transformer model, which is not supported", r"(^|\.)(patch_embedding|patch_embed\.proj|x_embedder)\."),
    Refusal("an EDM model (Playground and the like), which is not supported", r"^edm_(mean|std|vpred)"),
    Refusal("a Stable Diffusion 2.x model, which is not supported yet", r"^cond_stage_model\.model\."),
    Refusal("the SDXL refiner, which is not a base model", r"^conditioner\.embedders\.0\.model\.", "give the SDXL base model"),
)

# Asked only when the file is not a whole model.
_PIECES = (
    Refusal(
        "a U-Net alone, without its VAE and text encoder",
        r"^(model\.diffusion_model\.)?(input_blocks|down_blocks|output_blocks)\.\d",
        "give the full checkpoint; for the diffusers layout, the folder that holds `model_index.json`",
    ),
    Refusal(
        "a VAE alone",
        r"^(first_stage_model\.)?(encoder|decoder)\.(conv_in|down|up|mid)\b|^(post_)?quant_conv\.",
        "give it as `vae`, and a base model here",
    ),
    Refusal(
        "a T5 or other language model", r"(^|\.)(encoder\.block\.\d|model\.layers\.\d+\.(mlp|self_attn))",
    ),
    Refusal("a CLIP text encoder alone", r"(^|\.)(text_model\.encoder\.layers|transformer\.resblocks|encoder\.layers)\.\d"),
    Refusal("an image upscaler", r"^(model\.\d+\.(weight|sub)|conv_first\.|body\.\d+\.)"),
    Refusal("a hypernetwork", r"^(320|640|768|1024|1280)\b"),
)  # fmt: skip


def kind(names: Sequence[str]) -> Refusal | None:
    """What these tensors are, when they are known not to be a model of ours."""
    return _ADAPTER if adapterfiles.is_adapter(names) else _first(_KINDS, names)


def piece(names: Sequence[str]) -> Refusal | None:
    """What these tensors are, when they are known to be only a piece of a model."""
    return _first(_PIECES, names)


def _first(rows: Sequence[Refusal], names: Sequence[str]) -> Refusal | None:
    for entry in rows:
        search = re.compile(entry.pattern).search
        if any(search(name) for name in names):
            return entry
    return None


def unknown(path: Path, names: Sequence[str]) -> UserError:
    """The error for a file that is no base model, naming what it is as far as its tensors tell."""
    if not names:
        return UserError("the file holds no tensors", _BASE, where=str(path))
    entry = kind(names) or piece(names)
    if entry:
        return UserError(f"this is {entry.what}", entry.hint, where=str(path))
    return UserError(
        f"this is not a model that is known here: its {len(names):,} tensors are named like {few(names)}", _BASE, where=str(path)
    )


def few(names: Sequence[str], limit: int = 3) -> str:
    """The first names in quotes, and how many more there are.

    >>> few(["a", "b", "c", "d"])
    '`a`, `b`, `c` and 1 more'
    """
    shown = ", ".join(f"`{name}`" for name in names[:limit])
    return f"{shown} and {len(names) - limit:,} more" if len(names) > limit else shown


def not_found(path: Path, option: str = "pretrained_model_name_or_path") -> UserError:
    """The error for a path that does not exist: a hub id, a web address, or a name mistyped."""
    text = path.as_posix()
    if re.match(r"https?:/", text):
        address = text.replace(":/", "://", 1)  # a Path has one slash where an address has two
        return UserError(
            "this is a web address; nothing is downloaded during a run",
            f"python -m engine download {address}\n      gets it into {MODELS_FOLDER}/; "
            f"then give its path: {option} = {MODELS_FOLDER}/{path.name}",
            where=f"{option} = {address}",
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and path.suffix.lower() not in MODEL_SUFFIXES and not os.path.isdir(path.parent):
        return UserError(
            f"`{text}` is the name of a model on the Hugging Face hub, and no such folder is here; nothing is downloaded during a run",
            f"python -m engine download {text}\n      gets it into {MODELS_FOLDER}/ and says its name; then give its path: "
            f"{option} = {MODELS_FOLDER}/<file>.safetensors",
            where=option,
        )
    return UserError("there is no such file or folder", _suggestion(path), where=f"{option} = {path}")


def _suggestion(path: Path) -> str:
    """The most similar model beside the path or in models/; else what is there; else how to get one."""
    candidates = [*models_in(path.parent), *models_in(MODELS_FOLDER)]
    by_name = {candidate.name: candidate for candidate in reversed(candidates)}
    close = nearest(path.name, list(by_name)) or [name for name in by_name if Path(name).stem == path.stem]
    if close:
        return f"did you mean {by_name[close[0]]}?"
    if candidates:
        return f"the models here are {', '.join(str(candidate) for candidate in candidates[:5])}"
    return f"put a base model (.safetensors) into {MODELS_FOLDER}/ and give its path"


def models_in(folder: Path) -> list[Path]:
    """Model files and diffusers folders directly inside a folder, sorted."""
    if not os.path.isdir(folder):  # Path.is_dir raises for a name too long to be one
        return []
    inside = sorted(folder.iterdir())
    return [path for path in inside if path.suffix.lower() in MODEL_SUFFIXES or (path / "model_index.json").is_file()]
