"""Fits the coefficients of `engine/vram/coefficients.json` to measured points.

Each event of a backward pass is a sum of products, so the fit is linear: least squares of the relative error, without negative
coefficients.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.vram import estimate

FAMILIES = {"sd15": "sd1", "sdxl": "sdxl"}
METHODS = ("lora", "loha")
_PRECISIONS = {"half": "bf16", "full": "no"}
_DIGITS = 4  # that are kept
_SMALL = 4  # the power by which an event counts less where another is larger: only the largest is predicted
_TOKENS = ("token", "token of trained text")
_RANKS = ("pixel and rank", "pixel and rank of convolutions")  # a change of a layer's size keeps nothing of a rank for each pixel


def read(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(setup, what was measured) of the file that `points` writes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(json.loads(setup), json.loads(found)) for setup, _, found in (line.partition("\t") for line in lines)]


def table(points: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """The contents of `coefficients.json`."""
    made: dict[str, Any] = {"vae": {}, "captions": [], "sample": [], "steps": []}
    for model, family in FAMILIES.items():
        for precision in _PRECISIONS:
            own = [(setup, found) for setup, found in points if setup["model"] == model and setup["precision"] == precision]
            for setup, found in own:
                if setup.get("vae"):
                    made["vae"].setdefault(precision, _vae(found))
                    made["captions"].append(
                        {"family": family, "precision": precision, "token": _rounded(found["captions"]["16"] / 16 / 77)}
                    )
                elif found["sample"]:
                    made["sample"].append({"family": family, "precision": precision, **_sample(found["sample"])})
            steps = [(setup, found) for setup, found in own if not setup.get("vae")]
            for method in METHODS:
                for checkpointing in (False, True):
                    rows = [
                        (_load(setup, point["size"], found["gradients"]), point)
                        for setup, found in steps
                        for point in found["points"]
                        if setup["method"] == method and point["size"]["checkpointing"] == checkpointing
                    ]
                    if rows:
                        keys = {"family": family, "precision": precision, "checkpointing": checkpointing, "method": method}
                        lent = _text(made["steps"], keys) if method == "loha" else {}
                        made["steps"].append({**keys, **{event: _event(rows, event, lent.get(event, {})) for event in estimate.EVENTS}})
    return made


def untold(points: Sequence[tuple[dict[str, Any], dict[str, Any]]], model: str, precision: str, method: str) -> list[str]:
    """Coefficients that a row's points do not tell apart: least squares gives them numbers that are right at these points alone."""
    loads = [
        _load(setup, point["size"], found["gradients"])
        for setup, found in points
        if not setup.get("vae") and (setup["model"], setup["precision"], setup["method"]) == (model, precision, method)
        for point in found["points"]
    ]
    rows = [estimate.features(load) for load in loads]
    wanted = [name for name in (rows[0] if rows else ()) if name not in ((*_TOKENS, *_RANKS) if method == "loha" else ())]
    if not rows:
        return ["all"]
    matrix = np.array([[float(values[name]) for name in wanted] for values in rows])
    matrix = matrix / np.maximum(matrix.max(axis=0), 1e-30)
    free = np.linalg.svd(matrix)[2][np.linalg.matrix_rank(matrix, tol=1e-6) :]  # what may be added and changes no point
    return [name for name, moved in zip(wanted, np.abs(free).max(axis=0, initial=0.0), strict=True) if moved > 1e-6]


def write(made: Mapping[str, Any], path: Path) -> None:
    """A row a line."""
    parts = []
    for name, rows in made.items():
        if isinstance(rows, list):
            lines = ",\n  ".join(json.dumps(row) for row in rows)
            parts.append(f'"{name}": [\n  {lines}\n ]')
        else:
            parts.append(f'"{name}": {json.dumps(rows)}')
    path.write_text("{\n " + ",\n ".join(parts) + "\n}\n", encoding="utf-8")


def _load(setup: Mapping[str, Any], size: Mapping[str, Any], gradients: int) -> estimate.Load:
    """A point as the predictor takes it; the weights do not matter for the coefficients."""
    adapters = estimate.Adapters(setup["method"], setup["dim"], setup["conv"], setup["text"], gradients, 0)
    precision = _PRECISIONS[setup["precision"]]
    return estimate.Load(
        FAMILIES[setup["model"]], precision, precision, size["checkpointing"], size["samples"], size["width"] * size["height"],
        size["tokens"], adapters, 0, 0, 0, setup["text"],
    )  # fmt: skip


def _event(rows: Sequence[tuple[estimate.Load, Mapping[str, Any]]], event: str, lent: Mapping[str, float]) -> dict[str, float]:
    """The coefficients of one event. Those that are lent are not fitted."""
    there, sizes, weights = [], [], []
    for load, point in rows:
        if point["events"][event]:
            values = estimate.features(load)
            there.append(values)
            weights.append(((point["events"][event] - point["before"]) / (point["peak"] - point["before"])) ** _SMALL)
            sizes.append(point["events"][event] - point["before"] - sum(factor * values[name] for name, factor in lent.items()))
    left_out = (*lent, *_RANKS) if rows[0][0].adapters.method == "loha" else ()
    names = [name for name in there[0] if name not in left_out and any(values[name] for values in there)]
    matrix = np.array([[values[name] / size for name in names] for values, size in zip(there, sizes, strict=True)])
    scale = matrix.max(axis=0)
    weight = np.array(weights)
    found = _least(matrix / scale * weight[:, None], weight) / scale
    return {**{name: _rounded(value) for name, value in zip(names, found, strict=True) if value}, **lent}


def _least(matrix: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Least squares with no negative solution: the most negative coefficient is left out until none is."""
    kept = list(range(matrix.shape[1]))
    while True:
        solved = np.linalg.lstsq(matrix[:, kept], wanted, rcond=None)[0]
        if solved.min() >= -1e-9:
            break
        kept.pop(int(solved.argmin()))
    result = np.zeros(matrix.shape[1])
    result[kept] = solved.clip(min=0)
    return result


def _text(rows: Sequence[Mapping[str, Any]], keys: Mapping[str, object]) -> dict[str, dict[str, float]]:
    """By event: what tokens take, which is the same whatever the method, from the row of LoRA."""
    wanted = {**keys, "method": "lora"}
    row = next(row for row in rows if all(row[name] == value for name, value in wanted.items()))
    return {event: {name: row[event].get(name, 0.0) for name in _TOKENS} for event in estimate.EVENTS}


def _vae(found: Mapping[str, Any]) -> dict[str, float]:
    """Bytes a pixel."""
    return {kind: _rounded(max(size / int(side) ** 2 for side, size in found[kind].items())) for kind in ("encode", "decode")}


def _sample(found: Mapping[str, int]) -> dict[str, float]:
    """A line through two sides."""
    (small, low), (large, high) = sorted((int(name.split()[1]) ** 2 / 64 * 2, size) for name, size in found.items())
    pixel = (high - low) / (large - small)
    return {"constant": _rounded(max(0.0, low - pixel * small)), "pixel": _rounded(pixel)}


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
