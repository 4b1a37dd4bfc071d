"""LoRA files: names, shapes, alpha, hashes; and merging one into weights. They are as every image program reads them.

Naming and shapes are those of kohya's sd-scripts: `<module>.lora_down.weight` [r, in(, k, k)], `<module>.lora_up.weight` [out, r(, 1, 1)],
`<module>.alpha` (scalar), the weight's change being alpha / r * up @ down.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine import headers, tensorfile
from engine.adapters.base import Diverged, NothingLearned, Site
from engine.adapters.sizes import Sizes
from engine.adapters.sizes import told as told_sizes
from engine.errors import UserError

DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
UNET = "lora_unet_"  # how every U-Net module's name begins; the others are the text encoders'
_ATTENTION = re.compile(r"_attn\d?_")
_PRECISIONS = {torch.float32: "float", torch.float16: "fp16", torch.bfloat16: "bf16"}  # as `save_precision` names them

_OTHERS = (  # what a key tells about a file that is no LoRA of this kind
    (r"\.dora_scale$", "DoRA"),
    (r"\.lora_mid\.", "LoRA with Tucker factors"),
    (r"\.hada_", "LoHa"),
    (r"\.lokr_", "LoKr"),
    (r"\.oft_", "OFT"),
    (r"\.on_input$", "IA3"),
    (r"\.diff(_b)?$", "full weight differences"),
    (r"[._]lora(_A|_B|\.down|\.up|_linear_layer|_magnitude_vector)\b", "LoRA in the naming of diffusers or PEFT"),
)


def product(down: Tensor, up: Tensor, scale: float) -> Tensor:
    """The change of the weight: scale * up @ down, in float32, [out, in(, k, k)].

    The one place of LoRA's formula. It never passes through the base weight: in that weight's half precision most of a small change
    would be rounded to nothing.
    """
    change = (up.flatten(1).float() * scale) @ down.flatten(1).float()
    return change.view(up.shape[0], *down.shape[1:])


@dataclass(frozen=True)
class Factors:
    """One module of a file. `alpha` equals the rank where the file names none."""

    down: Tensor  # [r, in] or [r, in, k, k]
    up: Tensor  # [out, r] or [out, r, 1, 1]
    alpha: float

    @property
    def rank(self) -> int:
        """The inner dimension of the two factors."""
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    def delta(self) -> Tensor:
        """The weight's change at strength 1, float32."""
        return product(self.down, self.up, self.scale)


def read(path: Path) -> tuple[dict[str, Factors], dict[str, str]]:
    """A LoRA file's modules and its metadata. Raises UserError for a damaged file, or one that is no LoRA of this kind."""
    tensors = tensorfile.read(path)
    return parse(tensors, str(path)), headers.read(path).metadata


def parse(tensors: Mapping[str, Tensor], where: str = "") -> dict[str, Factors]:
    """Named tensors -> modules. Raises UserError for a key of another kind, a module without both factors, or factors that do not fit."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, suffix = key.partition(".")
        if suffix not in (DOWN, UP, ALPHA):
            kind = next((title for pattern, title in _OTHERS if re.search(pattern, key)), "")
            told = f"this file holds {kind}, not a plain LoRA" if kind else "this is not a LoRA file"
            raise UserError(f"{told} (its tensor `{key}`)", "choose a LoRA that names its tensors as sd-scripts does", where=where)
        found.setdefault(name, {})[suffix] = tensor
    if not found:
        raise UserError("the file holds no LoRA module", "choose another file", where=where)
    return {name: _factors(name, parts, where) for name, parts in found.items()}


def _factors(name: str, parts: Mapping[str, Tensor], where: str) -> Factors:
    """One module from its tensors by suffix."""
    again = "the file is damaged or half written; save or download it again"
    if DOWN not in parts or UP not in parts:
        raise UserError(f"`{name}` has no `{UP if DOWN in parts else DOWN}`", again, where=where)
    down, up = parts[DOWN], parts[UP]
    if down.dim() not in (2, 4) or up.dim() not in (2, 4) or up.shape[1:].numel() != down.shape[0]:
        raise UserError(f"the factors of `{name}` do not fit: {list(down.shape)} and {list(up.shape)}", again, where=where)
    alpha = parts.get(ALPHA)
    if alpha is not None and alpha.numel() != 1:
        raise UserError(f"alpha of `{name}` is not one number: its shape is {list(alpha.shape)}", again, where=where)
    return Factors(down, up, float(down.shape[0] if alpha is None else alpha))


def pack(modules: Mapping[str, Factors], dtype: torch.dtype) -> dict[str, Tensor]:
    """Modules -> the tensors of a file, copied to the CPU in `dtype`. Each has its alpha beside it.

    The alphas are the modules' own, as sd-scripts writes them, where every program reads them so. Where diffusers would not, all modules
    get the most common alpha, and `lora_up` is rescaled so that the change stays the same.
    """
    shared = None if _read_alike(modules) else Counter(factors.alpha for factors in modules.values() if factors.alpha).most_common(1)[0][0]
    tensors: dict[str, Tensor] = {}
    for name, factors in modules.items():
        alpha = factors.alpha if shared is None else shared
        up = factors.up.detach()
        if alpha != factors.alpha:
            up = up.float() * (factors.alpha / alpha)
        tensors[f"{name}.{DOWN}"] = factors.down.detach().to(device=_home(factors.down), dtype=dtype, copy=True)
        tensors[f"{name}.{UP}"] = up.to(device=_home(up), dtype=dtype, copy=True)
        tensors[f"{name}.{ALPHA}"] = _exact(alpha, dtype)
    return tensors


def _read_alike(modules: Mapping[str, Factors]) -> bool:
    """Whether diffusers too applies the alpha that stands beside each module.

    It gives the attention layers of a part (U-Net, text encoder) the most common alpha of that part (0.41, `get_peft_kwargs`).
    """
    parts: dict[str, dict[str, float]] = defaultdict(dict)
    for name, factors in modules.items():
        parts[_part(name)][name] = factors.alpha
    for alphas in parts.values():
        (common, count), *others = Counter(alphas.values()).most_common(2)
        if others and others[0][1] == count:
            return False  # which of the two it takes depends on the order of the tensors
        if any(alpha != common for name, alpha in alphas.items() if _ATTENTION.search(name) or not name.startswith(UNET)):
            return False
    return True


def _part(name: str) -> str:
    """The beginning of a module's name, which tells its part of the model: `lora_unet`, `lora_te1`."""
    return "_".join(name.split("_", 2)[:2])


def sizes(tensors: Mapping[str, Tensor]) -> Sizes:
    """What the tensors of a file are. Raises UserError where they are no LoRA."""
    found: dict[bool, list[Factors]] = defaultdict(list)
    for factors in parse(tensors).values():
        found[factors.down.shape[2:].numel() > 1].append(factors)
    plain, square = found[False], found[True]
    return Sizes(
        _the_only(factors.rank for factors in plain or square),
        _the_only(factors.alpha for factors in plain or square),
        _the_only(factors.rank for factors in square),
        _the_only(factors.alpha for factors in square),
    )


def _the_only(values: Iterable[float]) -> str:
    """The value that all have; empty without any."""
    distinct = set(values)
    return "Dynamic" if len(distinct) > 1 else "".join(map(str, distinct))


def write(path: Path, tensors_in: Callable[[torch.dtype], dict[str, Tensor]], dtype: torch.dtype, metadata: Mapping[str, str]) -> None:
    """Write a LoRA file with the run's metadata, its ranks and alphas, and the two hashes taken over the tensors and `ss_*`.

    `tensors_in(dtype)` gives the tensors. Raises Diverged where they are not numbers, NothingLearned where they change nothing, UserError
    where the disk refuses.
    """
    tensors = tensors_in(dtype)
    _require_sound(tensors, lambda: tensors_in(torch.float32), _PRECISIONS.get(dtype, str(dtype)))
    told = told_sizes(metadata, sizes(tensors))
    model_hash, legacy_hash = hashes(tensors, {name: value for name, value in told.items() if name.startswith("ss_")})
    tensorfile.write(path, tensors, {**told, "sshs_model_hash": model_hash, "sshs_legacy_hash": legacy_hash})


def _require_sound(tensors: Mapping[str, Tensor], exact: Callable[[], Mapping[str, Tensor]], precision: str) -> None:
    """Raise where the tensors are not worth a file; `exact` gives them in float32, to tell what the number format did."""
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        whole = exact()
        if all(bool(whole[name].isfinite().all()) for name in broken):
            told = f"{len(broken)} of the trained tensors hold values that {precision} cannot, such as `{broken[0]}`"
            raise Diverged(told, "lower the learning rate, or set save_precision = float", where="save_precision")
        told = f"the training has diverged: {len(broken)} of {len(tensors)} trained tensors are not numbers any more"
        raise Diverged(told, "lower the learning rate", where="learning_rate")
    if is_empty(tensors):
        if is_empty(exact()):
            told = "nothing was learned: every `lora_up` of the LoRA is still zero"
            raise NothingLearned(told, "raise learning_rate; train.log has the losses", where="learning_rate")
        told = f"everything trained is too small for {precision}, in which every `lora_up` of the LoRA would be zero"
        raise NothingLearned(told, "set save_precision = float, or raise the learning rate", where="save_precision")


def is_empty(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file of these tensors changes nothing: every lora_up is zero."""
    return not any(bool(tensor.any()) for name, tensor in tensors.items() if name.endswith(UP))


def _home(tensor: Tensor) -> str:
    """Where a packed tensor lies; tensors without values, which tell only sizes, stay as they are."""
    return "meta" if tensor.is_meta else "cpu"


def _exact(value: float, dtype: torch.dtype) -> Tensor:
    """A scalar in `dtype` where that holds the value exactly, else in float32."""
    short = torch.tensor(value, dtype=dtype)
    return short if float(short) == value else torch.tensor(value, dtype=torch.float32)


def hashes(tensors: Mapping[str, Tensor], ss_metadata: Mapping[str, str]) -> tuple[str, str]:
    """`sshs_model_hash` and `sshs_legacy_hash` of a file of these tensors; `ss_metadata` holds its `ss_*` entries alone.

    The first is SHA-256 over everything behind the header. The second is the first 8 digits of SHA-256 over bytes 0x100000 to 0x110000 of
    the file as it would be with this metadata (sd-webui-additional-networks' rule; a smaller file has the hash of nothing).
    """
    raw = tensorfile.serialise(tensors, ss_metadata)
    start = 8 + int.from_bytes(raw[:8], "little")
    return hashlib.sha256(memoryview(raw)[start:]).hexdigest(), hashlib.sha256(raw[0x100000:0x110000]).hexdigest()[:8]


def merged(weight: Tensor, factors: Factors, strength: float) -> Tensor:
    """The weight with the change added: formed in float32, rounded once to the weight's dtype."""
    change = factors.delta().to(weight.device)
    if change.numel() != weight.numel() or change.shape[0] != weight.shape[0]:
        raise UserError(
            f"the LoRA changes a weight of shape {list(change.shape)}, the model's is {list(weight.shape)}",
            "use a LoRA that was made for this kind of model",
        )
    return (weight.float() + strength * change.view(weight.shape)).to(weight.dtype)


def merge(
    weights: Mapping[str, Tensor], modules: Mapping[str, Factors], strength: float, name_of: Callable[[str], str | None]
) -> dict[str, Tensor]:
    """`weights` with the LoRA merged in; those it does not touch are passed on as they are.

    `name_of` gives a weight's module name in LoRA files, None where it has none. Raises UserError when a module finds no weight.
    """
    known = {name: key for key in weights if (name := name_of(key)) is not None}
    found = match(modules, known)
    result = dict(weights)
    for name, factors in modules.items():
        key = known[found[name]]
        result[key] = merged(weights[key], factors, strength)
    return result


def merge_into(sites: Sequence[Site], modules: Mapping[str, Factors], strength: float) -> None:
    """Merge the LoRA into the sites' own weights, in place. Raises UserError when a module finds no site."""
    known = {site.name: site for site in sites}
    found = match(modules, known)
    with torch.no_grad():
        for name, factors in modules.items():
            weight = known[found[name]].weight()
            weight.copy_(merged(weight, factors, strength))


def match(names: Iterable[str], known: Mapping[str, object], where: str = "") -> dict[str, str]:
    """Each file name -> the name in `known` that it means; SDXL names in diffusers' spelling are rewritten.

    Raises UserError for names that `known` lacks, and for two that mean the same.
    """
    found: dict[str, str] = {}
    strangers: list[str] = []
    for name in names:
        other = sdxl_name(name)
        if name in known:
            found[name] = name
        elif other in known:
            found[name] = other
        else:
            strangers.append(name)
    if strangers:
        raise UserError(
            f"{len(strangers)} of {len(found) + len(strangers)} modules of the LoRA have no place here, such as `{strangers[0]}`",
            "is it for another kind of model (SD 1.x, SDXL), or has it parts that this run leaves out (text encoder, convolutions)?",
            where=where,
        )
    if len(set(found.values())) < len(found):
        raise UserError("the LoRA names the same module in two spellings", "remove one of them, or use another file", where=where)
    return found


_INNER = {"conv1": "in_layers_2", "conv2": "out_layers_3", "time_emb_proj": "emb_layers_1", "conv_shortcut": "skip_connection"}
_BLOCK = re.compile(r"lora_unet_(down|up)_blocks_(\d)_(attentions|resnets|downsamplers|upsamplers)_(\d)_(.+)")
_MIDDLE = re.compile(r"lora_unet_mid_block_(attentions|resnets)_(\d)_(.+)")


def sdxl_name(name: str) -> str:
    """An SDXL U-Net module in diffusers' spelling -> in the original layout's, which files use. Any other name is returned as it is.

    >>> sdxl_name("lora_unet_down_blocks_1_attentions_0_proj_in")
    'lora_unet_input_blocks_4_1_proj_in'
    >>> sdxl_name("lora_unet_up_blocks_0_upsamplers_0_conv")
    'lora_unet_output_blocks_2_2_conv'
    """
    if middle := _MIDDLE.fullmatch(name):
        kind, j, rest = middle[1], int(middle[2]), middle[3]
        return f"lora_unet_middle_block_{1 if kind == 'attentions' else 2 * j}_{_INNER.get(rest, rest)}"
    if not (block := _BLOCK.fullmatch(name)):
        return name
    way, i, kind, j, rest = block[1], int(block[2]), block[3], int(block[4]), block[5]
    if kind == "downsamplers":
        return f"lora_unet_input_blocks_{3 * i + 3}_0_op"
    if kind == "upsamplers":
        return f"lora_unet_output_blocks_{3 * i + 2}_2_conv"
    number = 3 * i + j + 1 if way == "down" else 3 * i + j
    side = "input" if way == "down" else "output"
    return f"lora_unet_{side}_blocks_{number}_{1 if kind == 'attentions' else 0}_{_INNER.get(rest, rest)}"
