"""Tensor names of the original layout <-> diffusers' and transformers'. The original layout is that of LDM, SGM and open_clip. Pure.

A file's tensors become a `Renaming`: moves that say which tensors turn into which, and by what change of shape. Every rule is a pair of
module names, used in both directions; the pairs of a network follow from its own names (how many levels, layers, where attention is).
A name that no rule knows is a leftover; the caller decides what to say about it.

Text encoders carry the `text_model.` level here, as diffusers folders on disk do; what transformers calls its modules is for `networks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from engine.models.specs import Shape, Shapes, count

Kind = Literal["unet", "vae", "clip", "open_clip"]
Op = Literal["same", "flatten", "to_conv", "transpose", "split3", "stack3"]
Pair = tuple[str, str]  # original module or tensor name, diffusers name; both without a trailing dot

# Not part of a network: buffers of old versions, and EMA or loss leftovers inside an autoencoder's file.
_IGNORED: dict[Kind, re.Pattern[str]] = {
    "unet": re.compile(r"(?!)"),
    "vae": re.compile(r"(loss|model_ema)\."),
    "clip": re.compile(r"(text_model\.)?embeddings\.position_ids$|logit_scale$|text_projection\.weight$"),
    "open_clip": re.compile(r"(transformer\.)?attn_mask$|.*\.position_ids$"),
}
LOGIT_SCALE = "logit_scale"  # open_clip's temperature: no network of ours uses it, but the original layout has it


@dataclass(frozen=True)
class Move:
    """Tensors that become other tensors: one to one, or one to three (and back) for open_clip's joined q, k, v."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    op: Op = "same"

    def reshaped(self, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        """The targets' shapes, from the sources' shapes."""
        first = shapes[0]
        if self.op == "flatten":
            return (first[:2],)
        if self.op == "to_conv":
            return ((*first, 1, 1),)
        if self.op == "transpose":
            return (first[::-1],)
        if self.op == "split3":
            return ((first[0] // 3, *first[1:]),) * 3
        if self.op == "stack3":
            return ((sum(shape[0] for shape in shapes), *first[1:]),)
        return shapes


@dataclass(frozen=True)
class Renaming:
    """How a network's tensors are renamed."""

    moves: tuple[Move, ...]
    leftovers: tuple[str, ...]  # names that no rule knows
    ignored: tuple[str, ...]  # names that are known to be of no use

    def shapes(self, sources: Shapes) -> dict[str, Shape]:
        """Name -> shape after the moves."""
        renamed: dict[str, Shape] = {}
        for move in self.moves:
            renamed.update(zip(move.targets, move.reshaped(tuple(sources[name] for name in move.sources)), strict=True))
        return renamed


def to_diffusers(kind: Kind, shapes: Shapes) -> Renaming:
    """Original names (the part's prefix removed) -> diffusers names."""
    kept = {name: shape for name, shape in shapes.items() if not _IGNORED[kind].match(name)}
    ignored = tuple(name for name in shapes if name not in kept)
    if kind == "clip":
        return _plan(kept, _with_text_model, ignored)
    if kind == "open_clip":
        return _open_clip_to_diffusers(kept, ignored)
    if kind == "unet":
        return _plan(kept, _renamer(dict(_unet_pairs(_unet_layout_of_original(kept)))), ignored)
    pairs = _vae_pairs(count(kept, r"encoder\.down\.(\d+)\."), count(kept, r"encoder\.down\.\d+\.block\.(\d+)\."))
    return _plan(kept, _renamer(dict(pairs)), ignored, _flatten_attention)


def to_original(kind: Kind, shapes: Shapes) -> Renaming:
    """Diffusers names -> original names, without the part's prefix: the inverse of `to_diffusers`."""
    if kind == "clip":
        return _plan(shapes, _with_text_model, ())
    if kind == "open_clip":
        return _open_clip_to_original(shapes)
    if kind == "unet":
        return _plan(shapes, _renamer({other: original for original, other in _unet_pairs(_unet_layout_of_diffusers(shapes))}), ())
    pairs = _vae_pairs(count(shapes, r"encoder\.down_blocks\.(\d+)\."), count(shapes, r"encoder\.down_blocks\.\d+\.resnets\.(\d+)\."))
    return _plan(shapes, _renamer({other: original for original, other in pairs}), (), _conv_attention)


def in_folder(kind: Kind, shapes: Shapes) -> Renaming:
    """The names in a diffusers folder of any age -> today's.

    The autoencoder's attention was once `query`, `key`, `value`, `proj_attn`; text encoders may have `position_ids` and lack `text_model.`.
    """
    if kind == "vae":
        return _plan(shapes, _modern_attention, (), _flatten_attention)
    if kind == "unet":
        return _plan(shapes, lambda name: name, ())
    ignored = tuple(name for name in shapes if name.endswith("embeddings.position_ids"))
    return _plan({name: shape for name, shape in shapes.items() if name not in ignored}, _with_text_model, ignored)


def _modern_attention(name: str) -> str:
    modern = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    match = re.match(r"(.*\.mid_block\.attentions\.0\.)(query|key|value|proj_attn)(\.\w+)$", name)
    return f"{match[1]}{modern[match[2]]}{match[3]}" if match else name


def _same(source: str, target: str, shape: Shape) -> Op:
    return "same"


def _flatten_attention(source: str, target: str, shape: Shape) -> Op:
    """The autoencoder's attention is 1x1 convolutions in the original layout and Linear in diffusers; merged files hold either."""
    return "flatten" if _is_vae_projection(target) and len(shape) == 4 else "same"


def _conv_attention(source: str, target: str, shape: Shape) -> Op:
    return "to_conv" if _is_vae_projection(source) and len(shape) == 2 else "same"


def _is_vae_projection(name: str) -> bool:
    return ".mid_block.attentions.0.to_" in name and name.endswith(".weight")


def _plan(
    shapes: Shapes, rename: Callable[[str], str | None], ignored: tuple[str, ...], op: Callable[[str, str, Shape], Op] = _same
) -> Renaming:
    """One move a name. Two names that become one are an error of the rules, not of the file."""
    moves, leftovers, taken = [], [], set()
    for name, shape in shapes.items():
        target = rename(name)
        if target is None or target in taken:
            leftovers.append(name)
            continue
        taken.add(target)
        moves.append(Move((name,), (target,), op(name, target, shape)))
    return Renaming(tuple(moves), tuple(leftovers), ignored)


def _renamer(modules: dict[str, str]) -> Callable[[str], str | None]:
    """Rename by the longest module name that `name` starts with; None where no rule fits."""

    def rename(name: str) -> str | None:
        head = name
        while head:
            head, _, _ = head.rpartition(".")
            if head in modules:
                return modules[head] + name[len(head) :]
        return None

    return rename


@dataclass(frozen=True)
class UnetLayout:
    """What the block numbers of a U-Net depend on."""

    levels: int
    layers: int
    attention: tuple[bool, ...]  # on the way up, by up block


def _unet_layout_of_original(shapes: Shapes) -> UnetLayout:
    levels = 1 + sum(1 for index in range(count(shapes, r"input_blocks\.(\d+)\.")) if _any(shapes, f"input_blocks.{index}.0.op."))
    layers = max(1, count(shapes, r"input_blocks\.(\d+)\.") // levels - 1)  # levels * (layers + 1) blocks: conv_in, layers, downsamplers
    return UnetLayout(levels, layers, tuple(_any(shapes, f"output_blocks.{block * (layers + 1)}.1.norm.") for block in range(levels)))


def _unet_layout_of_diffusers(shapes: Shapes) -> UnetLayout:
    levels = count(shapes, r"down_blocks\.(\d+)\.")
    layers = count(shapes, r"down_blocks\.0\.resnets\.(\d+)\.")
    return UnetLayout(levels, layers, tuple(_any(shapes, f"up_blocks.{block}.attentions.0.") for block in range(levels)))


def _any(shapes: Shapes, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in shapes)


_UNET_ENDS: tuple[Pair, ...] = (
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
)
_UNET_RESNET: tuple[Pair, ...] = (
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
)


def _unet_pairs(layout: UnetLayout) -> Iterator[Pair]:
    """Blocks are numbered through in the original layout, by level in diffusers."""
    yield from _UNET_ENDS
    for level in range(layout.levels):
        start = 1 + level * (layout.layers + 1)
        for layer in range(layout.layers):
            yield from _resnet_pairs(f"input_blocks.{start + layer}.0", f"down_blocks.{level}.resnets.{layer}")
            yield f"input_blocks.{start + layer}.1", f"down_blocks.{level}.attentions.{layer}"
        yield f"input_blocks.{start + layout.layers}.0.op", f"down_blocks.{level}.downsamplers.0.conv"
    yield from _resnet_pairs("middle_block.0", "mid_block.resnets.0")
    yield "middle_block.1", "mid_block.attentions.0"
    yield from _resnet_pairs("middle_block.2", "mid_block.resnets.1")
    for block in range(layout.levels):
        start = block * (layout.layers + 1)
        for layer in range(layout.layers + 1):
            yield from _resnet_pairs(f"output_blocks.{start + layer}.0", f"up_blocks.{block}.resnets.{layer}")
            if layout.attention[block]:  # without attention the place .1 is the upsampler's
                yield f"output_blocks.{start + layer}.1", f"up_blocks.{block}.attentions.{layer}"
        place = 2 if layout.attention[block] else 1
        yield f"output_blocks.{start + layout.layers}.{place}.conv", f"up_blocks.{block}.upsamplers.0.conv"


def _resnet_pairs(original: str, diffusers: str) -> Iterator[Pair]:
    for left, right in _UNET_RESNET:
        yield f"{original}.{left}", f"{diffusers}.{right}"


def _vae_pairs(levels: int, layers: int) -> Iterator[Pair]:
    """The decoder's levels count from the coarsest in diffusers and from the finest in the original layout."""
    yield from (
        (name, name)
        for name in ("quant_conv", "post_quant_conv", "encoder.conv_in", "encoder.conv_out", "decoder.conv_in", "decoder.conv_out")
    )
    for half in ("encoder", "decoder"):
        yield f"{half}.norm_out", f"{half}.conv_norm_out"
        for index in (0, 1):
            yield from _vae_resnet_pairs(f"{half}.mid.block_{index + 1}", f"{half}.mid_block.resnets.{index}")
        for left, right in (("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")):
            yield f"{half}.mid.attn_1.{left}", f"{half}.mid_block.attentions.0.{right}"
    for level in range(levels):
        up = levels - 1 - level
        for layer in range(layers + 1):  # the decoder has one more
            yield from _vae_resnet_pairs(f"encoder.down.{level}.block.{layer}", f"encoder.down_blocks.{level}.resnets.{layer}")
            yield from _vae_resnet_pairs(f"decoder.up.{level}.block.{layer}", f"decoder.up_blocks.{up}.resnets.{layer}")
        yield f"encoder.down.{level}.downsample.conv", f"encoder.down_blocks.{level}.downsamplers.0.conv"
        yield f"decoder.up.{level}.upsample.conv", f"decoder.up_blocks.{up}.upsamplers.0.conv"


def _vae_resnet_pairs(original: str, diffusers: str) -> Iterator[Pair]:
    for name in ("norm1", "conv1", "norm2", "conv2"):
        yield f"{original}.{name}", f"{diffusers}.{name}"
    yield f"{original}.nin_shortcut", f"{diffusers}.conv_shortcut"


def _with_text_model(name: str) -> str | None:
    """Old SD1 files and transformers >= 5.6 lack the `text_model.` level."""
    if name.startswith("text_model.") or name == "text_projection.weight":
        return name
    return f"text_model.{name}" if name.startswith(("embeddings.", "encoder.", "final_layer_norm.")) else None


_OPEN_CLIP_ENDS = {
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    LOGIT_SCALE: LOGIT_SCALE,
}
_OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
# open_clip multiplies from the left: its matrix is [width, out], where Linear has [out, width].
_PROJECTION = ("text_projection", "text_projection.weight")


def _open_clip_modules(layers: int) -> dict[str, str]:
    return {
        f"transformer.resblocks.{index}.{left}": f"text_model.encoder.layers.{index}.{right}"
        for index in range(layers)
        for left, right in _OPEN_CLIP_LAYER.items()
    }


def _qkv(index: str, suffix: str) -> tuple[str, tuple[str, ...]]:
    """open_clip's joined projection of a layer, and the three of transformers; suffix "weight" or "bias"."""
    layer = f"text_model.encoder.layers.{index}.self_attn"
    return f"transformer.resblocks.{index}.attn.in_proj_{suffix}", tuple(f"{layer}.{name}_proj.{suffix}" for name in "qkv")


def _open_clip_to_diffusers(shapes: Shapes, ignored: tuple[str, ...]) -> Renaming:
    rename = _renamer(_open_clip_modules(count(shapes, r"transformer\.resblocks\.(\d+)\.")))
    moves, rest = [], {}
    for name, shape in shapes.items():
        joined = re.match(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)$", name)
        if joined and shape and shape[0] % 3 == 0:
            moves.append(Move((name,), _qkv(joined[1], joined[2])[1], "split3"))
        elif name == _PROJECTION[0]:
            moves.append(Move((name,), (_PROJECTION[1],), "transpose"))
        else:
            rest[name] = shape
    plain = _plan(rest, lambda name: _OPEN_CLIP_ENDS.get(name) or rename(name), ignored)
    return Renaming((*moves, *plain.moves), plain.leftovers, ignored)


def _open_clip_to_original(shapes: Shapes) -> Renaming:
    layers = count(shapes, r"text_model\.encoder\.layers\.(\d+)\.")
    ends = {other: original for original, other in _OPEN_CLIP_ENDS.items()}
    rename = _renamer({other: original for original, other in _open_clip_modules(layers).items()})
    moves, rest = [], dict(shapes)
    for index in range(layers):
        for suffix in ("weight", "bias"):
            joined, three = _qkv(str(index), suffix)
            if all(name in rest for name in three):
                moves.append(Move(three, (joined,), "stack3"))
                rest = {name: shape for name, shape in rest.items() if name not in three}
    if rest.pop(_PROJECTION[1], None):
        moves.append(Move((_PROJECTION[1],), (_PROJECTION[0],), "transpose"))
    plain = _plan(rest, lambda name: ends.get(name) or rename(name), ())
    return Renaming((*moves, *plain.moves), plain.leftovers, ())
