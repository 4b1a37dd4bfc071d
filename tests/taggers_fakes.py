"""Small taggers with the real ones' signatures: inputs, outputs, label files. Their scores follow from a picture's mean colour."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.taggers.models import Tagger

# name, category; ratings first, as the real tables have them
TAGS = (
    ("general", "rating"), ("explicit", "rating"), ("1girl", "general"), ("long_hair", "general"), ("^_^", "general"), ("", "general"),
    ("red", "general"), ("saber_(fate)", "character"), ("momo_(creature)", "character"),
)  # fmt: skip
MORE = (*TAGS, ("some_artist", "artist"), ("fate", "copyright"), ("highres", "meta"))
NUMBERS = {"general": "0", "artist": "1", "copyright": "3", "character": "4", "meta": "5", "rating": "9"}
OUTPUTS = {"pixai-0.9": ("embedding", "logits", "prediction"), "camie-v2": ("initial", "refined", "candidates")}


def tags_of(row: Tagger) -> tuple[tuple[str, str], ...]:
    """The tags of the small stand-in for a row; files without categories have ratings and general tags only."""
    if row.labels.endswith(".txt"):
        return tuple((name, "general") for name, _ in TAGS)
    if row.own_labels:
        return tuple((name, category if category == "rating" else "general") for name, category in TAGS)
    return MORE if row.labels.endswith(".json") else TAGS


def weights(count: int) -> NDArray[np.float32]:
    """[3, count]: mean colour -> logits, in the model's own numbers."""
    return np.random.default_rng(count).normal(size=(3, count)).astype(np.float32)


def make(row: Tagger, folder: Path, *, batch: int = 0, external: bool = False, tags: Sequence[tuple[str, str]] | None = None) -> Path:
    """Write model and labels of a small stand-in for a row; `batch` fixes the number of pictures. Returns the ONNX file."""
    folder.mkdir(parents=True, exist_ok=True)
    tags = tags_of(row) if tags is None else tags
    if row.labels:
        write_labels(folder / row.labels, tags)
    path = folder / row.model
    model = graph(row, len(tags), batch)
    if row.own_labels:
        model.metadata_props.add(key="tags", value=repr([f"rating:{name}" if category == "rating" else name for name, category in tags]))
    if external:
        onnx.save(model, str(path), save_as_external_data=True, location=f"{row.model}.data", size_threshold=0)
    else:
        path.write_bytes(model.SerializeToString())
    return path


def graph(row: Tagger, count: int, batch: int = 0) -> onnx.ModelProto:
    """The model: mean of the pixels by channel, times weights, with a sigmoid where the row says that it is inside."""
    size = row.input.size
    channels_last = row.input.layout == "NHWC"
    number = batch or "N"
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [number, size, size, 3] if channels_last else [number, 3, size, size])
    names = OUTPUTS.get(row.name, ("output",))
    right = row.output if isinstance(row.output, str) else names[row.output]
    scale = {1.0: 1 / 255}.get(row.input.scale, 1.0)  # keeps the logits of 0..255 small
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2] if channels_last else [2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["linear"]),
        helper.make_node("Identity" if row.sigmoid else "Sigmoid", ["linear"], [right]),
        *(helper.make_node("Neg", ["linear"], [name]) for name in names if name != right),  # outputs that must not be taken
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [number, count]) for name in names]
    held = numpy_helper.from_array(weights(count) * np.float32(scale), "weights")
    made = helper.make_graph(nodes, "tagger", [given], outputs, [held])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def expected(row: Tagger, ready: NDArray[np.float32]) -> NDArray[np.float64]:
    """The scores that the stand-in must give to a picture that is made ready: computed here, by hand."""
    means = ready.astype(np.float64).mean(axis=(0, 1) if row.input.layout == "NHWC" else (1, 2))
    scale = 1 / 255 if row.input.scale == 1.0 else 1.0
    logits = means @ (weights(len(tags_of(row))).astype(np.float64) * scale)
    result: NDArray[np.float64] = 1 / (1 + np.exp(-logits))
    return result


def write_labels(path: Path, tags: Sequence[tuple[str, str]]) -> None:
    """The labels in the form that a file of this name has with the real models."""
    path.write_text(_TEXTS[path.name](tags), encoding="utf-8")


def _csv(tags: Sequence[tuple[str, str]]) -> str:
    return "tag_id,name,category,count\n" + "".join(f"{i},{name},{NUMBERS[category]},1\n" for i, (name, category) in enumerate(tags))


def _pixai(tags: Sequence[tuple[str, str]]) -> str:
    blocks, start = [], 0
    while start < len(tags):
        category = tags[start][1]
        end = next((i for i in range(start, len(tags)) if tags[i][1] != category), len(tags))
        shown = {"artist": "style"}.get(category, category)
        blocks.append({"name": shown, "offset": start, "count": end - start, "tags": [name for name, _ in tags[start:end]]})
        start = end
    return json.dumps({"num_classes": len(tags), "categories": blocks})


def _cl(tags: Sequence[tuple[str, str]]) -> str:
    return json.dumps({str(i): {"tag": name, "category": category.capitalize()} for i, (name, category) in enumerate(tags)})


def _tables(tags: Sequence[tuple[str, str]]) -> dict[str, dict[str, str]]:
    return {"idx_to_tag": {str(i): name for i, (name, _) in enumerate(tags)}, "tag_to_category": dict(tags)}


_TEXTS = {
    "selected_tags.csv": _csv,
    "deepdanbooru_tags.csv": lambda tags: "name,real_name,category\n" + "".join(f"{n},{n},{NUMBERS[c]}\n" for n, c in tags),
    "tags.json": _pixai,
    "tag_mapping.json": _cl,
    "model_vocabulary.json": lambda tags: json.dumps(_tables(tags)),
    "camie-tagger-v2-metadata.json": lambda tags: json.dumps(
        {"dataset_info": {"tag_mapping": _tables(tags)}, "model_info": {"img_size": 512}}
    ),
    "top_tags.txt": lambda tags: "".join(f"{name}\n" for name, _ in tags),
}
