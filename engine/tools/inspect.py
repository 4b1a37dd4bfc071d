"""`inspect`: what a model or adapter file is, by its header alone. Imports no torch."""

from __future__ import annotations

import json
import math
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from engine import adapterfiles, files, headers
from engine.adapterfiles import Kind
from engine.errors import UserError, plural
from engine.models import blueprint
from engine.models.family import Checkpoint
from engine.models.layouts import SD1, SDXL, layout_of
from engine.models.recognise import recognise
from engine.models.specs import ClipSpec, Spec, UnetSpec
from engine.models.tensor_sources import Entry, Source, open_file, open_folder

_WIDTH = 15  # of the column of labels, characters
_LONGEST = 100  # of a metadata value, characters
_NUMBERS = {"F64": ("<d", b""), "F32": ("<f", b""), "F16": ("<e", b""), "BF16": ("<f", b"\0\0")}  # dtype -> struct's format, bytes before
_ADAPTER_KEYS = (  # label, metadata keys in order of preference
    ("name", ("ss_output_name", "modelspec.title")),
    ("trained on", ("ss_sd_model_name",)),
    ("dim, alpha", ("ss_network_dim",)),
    ("steps", ("ss_steps",)),
    ("resolution", ("modelspec.resolution", "ss_resolution")),
    ("optimizer", ("ss_optimizer",)),
    ("hash", ("sshs_model_hash",)),
    ("comment", ("ss_training_comment",)),
)
_CONTEXTS = {768: SD1.title, 1024: "Stable Diffusion 2.x", 2048: SDXL.title}


def describe(path: Path) -> str:
    """Several lines about a base model, an adapter or any other file of tensors. Raises UserError when it is none of these."""
    if not files.is_there(path):
        raise UserError("there is no such file or folder", "check the path", where=str(path))
    try:
        return "\n".join(_checkpoint(recognise(path)))
    except UserError as error:
        if not path.is_file():
            raise
        source = open_file(path)
        if not source.entries:
            raise
        lines = _adapter(source) if adapterfiles.is_adapter(source.entries) else _other(source, error)
    return "\n".join([*lines, *_tensors(source), *_metadata(source.metadata)])


def _line(label: str, value: str) -> str:
    return f"{label:<{_WIDTH}} {value}"


def _checkpoint(checkpoint: Checkpoint) -> Iterator[str]:
    title = layout_of(checkpoint.family).title
    yield _line("file", str(checkpoint.path))
    yield _line("is", f"a {title} base model, {checkpoint.layout} layout")
    zero = ", zero terminal SNR" if checkpoint.zero_terminal_snr else ""
    yield _line("predicts", f"{checkpoint.prediction}{zero} (told by {checkpoint.marks_from})")
    for part, network in checkpoint.networks.items():
        folder = network.path.is_dir()
        source = open_folder(network.path) if folder else open_file(network.path)
        entries = [entry for name, entry in source.entries.items() if name.startswith(network.prefix)]
        values = sum(math.prod(shape) for shape in blueprint.tensors(network.spec).values())
        yield _line(part, f"{values / 1e6:,.1f} M values, {_dtypes(entries)}: {_shape(network.spec)}")
    for note in checkpoint.notes:
        yield _line("note", note)
    if checkpoint.path.is_file():
        yield from _tensors(source)
        yield from _metadata(source.metadata)


def _shape(spec: Spec) -> str:
    """A network's description in a few words."""
    if isinstance(spec, ClipSpec):
        pooled = f", pooled to {spec.projection}" if spec.projection else ""
        return f"{spec.layers} layers, {spec.width} wide, heads {spec.heads}, {spec.activation}{pooled}"
    levels = "/".join(str(width) for width in spec.widths)
    if isinstance(spec, UnetSpec):
        depths, heads = ("/".join(map(str, numbers)) for numbers in (spec.depths, spec.heads))
        return f"levels {levels}, transformers {depths}, text {spec.context} wide, heads {heads}"
    return f"levels {levels}, {spec.latent_channels} channels at 1/{spec.stride}"


def _adapter(source: Source) -> Iterator[str]:
    """An adapter: how it changes layers, its family, modules and ranks, and what training wrote into it."""
    modules: dict[str, dict[str, Entry]] = defaultdict(dict)
    for name, entry in source.entries.items():
        module, end = adapterfiles.split(name)
        if module:
            modules[module][end] = entry
    kinds = {module: adapterfiles.kind(entries) for module, entries in modules.items()}
    titles = Counter(kind.title for kind in kinds.values() if kind)
    yield _line("file", str(source.path))
    yield _line("is", f"an adapter: {' and '.join(title for title, _ in titles.most_common()) or 'unknown'}, for {_adapter_family(source)}")
    found = {kind for kind in kinds.values() if kind}
    readers = [program for program in adapterfiles.USES if all(program in kind.readers for kind in found)]
    yield _line("readers", "; ".join(readers) or "not known")
    values = _alphas(source)
    told: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: {"modules": Counter(), "ranks": Counter(), "alphas": Counter()})
    for module, entries in modules.items():
        kind, counts = kinds[module], told[adapterfiles.part(module) or "other"]
        counts["modules"][module] += 1
        if kind and kind.rank:
            counts["ranks"][f"rank {_rank(kind, entries)}"] += 1
            if values:
                counts["alphas"][f"alpha {values[module]:g}" if module in values else "no alpha"] += 1
    for part, counts in told.items():
        sizes = ", ".join(f"{what} ({times})" for name in ("ranks", "alphas") for what, times in counts[name].items())
        yield _line(part, f"{plural(counts['modules'].total(), 'module')}{': ' if sizes else ''}{sizes}")
    for label, keys in _ADAPTER_KEYS:
        value = next((source.metadata[key] for key in keys if source.metadata.get(key) not in (None, "", "None")), "")
        if label == "dim, alpha" and value:
            value = f"{value}, {source.metadata.get('ss_network_alpha', 'unknown')}"
        if value:
            yield _line(label, _shortened(value))
    words = _frequent_tags(source.metadata)
    if words:
        yield _line("words", ", ".join(words))


def _alphas(source: Source) -> dict[str, float]:
    """Module -> its alpha, from a safetensors file; none from a pickled one."""
    if any(entry.lazy for entry in source.entries.values()):
        return {}
    header = headers.read(source.path)
    found: dict[str, float] = {}
    with files.reading(source.path), open(source.path, "rb") as handle:
        for name, info in header.tensors.items():
            if name.endswith(".alpha") and math.prod(info.shape) == 1 and info.dtype in _NUMBERS:
                form, padding = _NUMBERS[info.dtype]
                handle.seek(header.data_start + info.begin)
                found[adapterfiles.split(name)[0]] = struct.unpack(form, padding + handle.read(info.end - info.begin))[0]
    return found


def _rank(kind: Kind, entries: Mapping[str, Entry]) -> int:
    """The rank of a module; 0 where the tensor that tells it is missing."""
    entry = entries.get(kind.rank)
    return entry.shape[0] if entry and entry.shape else 0


def _adapter_family(source: Source) -> str:
    """The base models an adapter fits: by its metadata, else by its names, else by the width of the text its attention reads."""
    version = source.metadata.get("ss_base_model_version", "") or source.metadata.get("modelspec.architecture", "")
    for start, title in (
        ("sdxl", SDXL.title),
        ("stable-diffusion-xl", SDXL.title),
        ("sd_v1", SD1.title),
        ("stable-diffusion-v1", SD1.title),
    ):
        if version.startswith(start):
            return title
    if any(adapterfiles.part(name) == "text_encoder_2" for name in source.entries):
        return SDXL.title
    ranked = tuple(kind.rank for kind in adapterfiles.KINDS if kind.rank)  # such a tensor's second dimension is the layer's input
    for name, entry in source.entries.items():
        if re.search(r"attn2[._]to_k[._]", name) and name.endswith(ranked) and len(entry.shape) == 2:
            return _CONTEXTS.get(entry.shape[1], f"a model that reads text {entry.shape[1]} wide")
    return version or "a model that the file does not name"


def _frequent_tags(metadata: Mapping[str, str], limit: int = 12) -> list[str]:
    """The most frequent tags of the captions it was trained with."""
    try:
        folders = json.loads(metadata.get("ss_tag_frequency", "{}"))
        counts: Counter[str] = Counter()
        for tags in folders.values():
            counts.update({str(tag).strip(): int(number) for tag, number in tags.items()})
    except (ValueError, TypeError, AttributeError):  # other tools' metadata: nothing to tell is no error
        return []
    return [tag for tag, _ in counts.most_common(limit)]


def _other(source: Source, error: UserError) -> Iterator[str]:
    """A file that is no base model and no adapter: what it is as far as it is known, else why it is no base model."""
    told = error.message.removeprefix("this is ")
    yield _line("file", str(source.path))
    yield _line("is", told if told != error.message else f"no base model: {told}")


def _tensors(source: Source) -> Iterator[str]:
    size = source.path.stat().st_size
    yield _line("tensors", f"{len(source.entries):,}, {_dtypes(source.entries.values())}; {size / 2**20:,.1f} MiB on disk")


def _dtypes(entries: Iterable[Entry]) -> str:
    """The number formats, the most frequent first."""
    counts = Counter(entry.dtype for entry in entries)
    return " and ".join(dtype for dtype, _ in counts.most_common())


def _metadata(metadata: Mapping[str, str]) -> Iterator[str]:
    for key, value in sorted(metadata.items()):
        yield _line("metadata", f"{key} = {_shortened(value)}")


def _shortened(value: str) -> str:
    flat = " ".join(value.split())
    return flat if len(flat) <= _LONGEST else f"{flat[:_LONGEST]}... ({len(value):,} characters)"
