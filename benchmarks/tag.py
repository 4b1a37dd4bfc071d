"""`tag` beside a plain loop, on the same model and cores. `python -m benchmarks.tag MODEL [--pictures 64] [...]`.

MODEL is a folder with a tagger's files (--row says which); left out, a random network of about a real tagger's work is made. The plain loop
decodes, makes ready and runs one picture at a time, with as many threads for the model. Prints one JSON object with commit and machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import describe, forget_peaks, peaks
from engine.data import decode
from engine.taggers import models, run
from engine.taggers.models import Tagger
from engine.taggers.prepare import prepare
from engine.tools.labelling import pictures
from engine.tools.tag import look, model
from engine.tools.tag.scores import Scores


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tag", description=__doc__, allow_abbrev=False)
    parser.add_argument("model", nargs="?", type=Path, help="folder with a tagger's files; left out: a random one")
    parser.add_argument("--row", default=models.DEFAULT, help=f"which tagger it is ({models.DEFAULT})")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--side", type=int, default=2048, help="pixels of the pictures' longer side")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--width", type=int, default=64, help="channels of the random network")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    row = models.find(given.row)
    with tempfile.TemporaryDirectory() as place:
        folder = given.model or random_tagger(row, Path(place) / "tagger", given.width)
        paths = photographs(Path(place) / "pictures", given.pictures, given.side)
        rounds = [one_round(row, folder, paths, Path(place) / str(number), given.batch) for number in range(given.rounds)]
    told = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    settings = {name: str(value) for name, value in vars(given).items()}
    print(json.dumps({"settings": settings, "pictures_per_second": told, "rounds": rounds, "peaks": peaks(), **describe()}, indent=1))


def one_round(row: Tagger, folder: Path, paths: Sequence[Path], cache: Path, batch: int) -> dict[str, float]:
    """Pictures a second: of the loop, of `tag`, and of `tag` once the scores are kept. The model is opened and warm before each."""
    tagger = model.ready(row, folder, cache, lambda line: None)  # a random one differs from what is recorded
    size = row.input.size
    shape = (1, size, size, 3) if row.input.layout == "NHWC" else (1, 3, size, size)
    tagger.model.scores(np.zeros(shape, np.float32))
    forget_peaks()
    found = [pictures.Picture(path, path.with_suffix(".txt"), False) for path in paths]
    plain = timed(lambda: [tagger.model.scores(prepare(decode.decode(path.read_bytes()).image, row.input)[None]) for path in paths])
    with Scores(cache) as kept:

        def ours() -> list[look.Looked]:
            return list(look.look(found, tagger, kept, batch=batch, threads=0, lowest=0.1))

        fresh, again = timed(ours), timed(ours)
    return {name: len(paths) / seconds for name, seconds in (("plain_loop", plain), ("tag", fresh), ("tag_again", again))}


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def photographs(folder: Path, count: int, side: int) -> list[Path]:
    """JPEG files of smooth noise."""
    folder.mkdir(parents=True)
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (side // 64, side // 48, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=92)
    return sorted(folder.iterdir())


def random_tagger(row: Tagger, folder: Path, width: int) -> Path:
    """A random convolutional network with the row's signature and a thousand labels, from nothing but a seed."""
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True)
    random, count, size = np.random.default_rng(0), 1000, row.input.size
    last = row.input.layout == "NHWC"
    nodes = (
        [helper.make_node("Transpose", ["input"], ["x0"], perm=[0, 3, 1, 2])] if last else [helper.make_node("Identity", ["input"], ["x0"])]
    )
    held, channels = [], 3
    for layer in range(5):
        weight = (random.normal(size=(width << layer, channels, 3, 3)) / (9 * channels) ** 0.5).astype(np.float32)
        held.append(numpy_helper.from_array(weight, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [f"x{layer}", f"w{layer}"], [f"c{layer}"], strides=[2, 2], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"x{layer + 1}"]))
        channels = width << layer
    held.append(numpy_helper.from_array((random.normal(size=(channels, count)) / channels).astype(np.float32), "head"))
    nodes.append(helper.make_node("ReduceMean", ["x5"], ["mean"], axes=[2, 3], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["mean", "head"], ["logits"]))
    nodes.append(helper.make_node("Sigmoid", ["logits"], ["output"]))
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", size, size, 3] if last else ["N", 3, size, size])
    made = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", count])
    graph = helper.make_graph(nodes, "random", [given], [made], held)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / row.model).write_bytes(proto.SerializeToString())
    lines = [f"{number},tag {number},0,1" for number in range(count)]
    (folder / row.labels).write_text("\n".join(["tag_id,name,category,count", *lines]), encoding="utf-8")
    assert run.PROCESSOR in run.available()
    return folder


if __name__ == "__main__":
    main()
