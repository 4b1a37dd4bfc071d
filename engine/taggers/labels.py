"""The labels of a tagger: what each number that it gives means. Every kind of label file in use is read."""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import files
from engine.errors import UserError
from engine.taggers.models import CATEGORIES, CHARACTER, GENERAL, RATING

_DANBOORU = {"0": GENERAL, "1": "artist", "3": "copyright", "4": CHARACTER, "5": "meta", "9": RATING, "10": "year"}  # numbers of categories
_OTHER_NAMES = {"style": "artist", "series": "copyright"}
_AGAIN = "get the labels from the page that the model is from; both belong together"


@dataclass(frozen=True)
class Labels:
    """What a model's outputs mean, in their order. A slot that means nothing has the name ""."""

    names: tuple[str, ...]
    categories: tuple[str, ...]  # one of CATEGORIES each

    def __len__(self) -> int:
        return len(self.names)


def read(path: Path) -> Labels:
    """The labels in a .csv, .json or .txt file. Raises UserError where it is none, or of a form that is not known."""
    with files.reading(path):
        raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
        found = _READERS[path.suffix.lower()](text)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        told = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise UserError(f"this is not a tagger's file of labels ({told})", _AGAIN, where=str(path)) from error
    if not any(found.names):
        raise UserError("this file of labels is empty", _AGAIN, where=str(path))
    return found


def of_metadata(text: str, where: str) -> Labels:
    """The labels that a model carries: a list of names, as Python writes it. Raises UserError where it is none."""
    try:
        listed = ast.literal_eval(text)
        if not isinstance(listed, list) or not listed:
            raise ValueError("it is no list")
        return _plain([str(name) for name in listed])
    except (ValueError, SyntaxError, TypeError) as error:
        hint = "this export has none: use one that has, as skytnt/deepdanbooru_onnx, or deepghs/imgutils-models with its .csv file"
        raise UserError(f"the model carries no list of labels ({error})", hint, where=where) from error


def _csv(text: str) -> Labels:
    """`selected_tags.csv`: a line each with at least `name` and `category`, which is a number."""
    table = csv.DictReader(io.StringIO(text))
    lacking = [column for column in ("name", "category") if column not in (table.fieldnames or ())]
    if lacking:
        raise ValueError(f"its first line names no column `{lacking[0]}`")
    rows = [(row["name"] or "", row["category"] or "") for row in table]
    return _made([name for name, _ in rows], [_DANBOORU.get(number.strip(), number) for _, number in rows])


def _lines(text: str) -> Labels:
    """A name a line."""
    return _plain([line.strip() for line in text.rstrip("\n").split("\n")])


def _plain(listed: Sequence[str]) -> Labels:
    """Names without categories; DeepDanbooru marks its ratings by their beginning."""
    rating = f"{RATING}:"
    return _made([name.removeprefix(rating) for name in listed], [RATING if name.startswith(rating) else GENERAL for name in listed])


def _json(text: str) -> Labels:
    """PixAI's categories with offsets, cl_tagger's and camie's mappings: known apart by their keys."""
    found = json.loads(text)
    if isinstance(found.get("categories"), list):
        return _offsets(found)
    mapping = found.get("dataset_info", {}).get("tag_mapping", found)
    if "tag_to_category" in mapping:
        return _two_tables(mapping)
    return _numbered({int(number): (entry["tag"], entry["category"]) for number, entry in mapping.items()})


def _offsets(found: Mapping[str, Any]) -> Labels:
    """Blocks of tags, a category each."""
    numbered = {
        int(block["offset"]) + place: (tag, block["name"]) for block in found["categories"] for place, tag in enumerate(block["tags"])
    }
    if len(numbered) != int(found["num_classes"]):
        raise ValueError(f"it names {len(numbered)} tags and says that there are {found['num_classes']}")
    return _numbered(numbered)


def _two_tables(mapping: Mapping[str, Any]) -> Labels:
    """Numbers to tags (or the other way round), and tags to categories."""
    tags = {int(number): tag for number, tag in mapping["idx_to_tag"].items()} if "idx_to_tag" in mapping else {}
    tags = tags or {int(number): tag for tag, number in mapping["tag_to_idx"].items()}
    return _numbered({number: (tag, mapping["tag_to_category"].get(tag, GENERAL)) for number, tag in tags.items()})


def _numbered(found: Mapping[int, tuple[str, str]]) -> Labels:
    """Labels by their numbers; a number that is left out means nothing."""
    if not found or min(found) < 0 or max(found) >= 4 * len(found) + 16:
        raise ValueError("its numbers are none of outputs")
    slots = [found.get(number, ("", GENERAL)) for number in range(max(found) + 1)]
    return _made([name for name, _ in slots], [category for _, category in slots])


def _made(names: Sequence[str], categories: Sequence[str]) -> Labels:
    """Labels, their categories under our names."""
    known = {name: _category(name) for name in set(categories)}
    return Labels(tuple(str(name) for name in names), tuple(known[name] for name in categories))


def _category(name: str) -> str:
    word = str(name).strip().lower()
    word = _OTHER_NAMES.get(word, word)
    if word not in CATEGORIES:
        raise ValueError(f"`{name}` is no category that is known here")
    return word


_READERS: dict[str, Callable[[str], Labels]] = {".csv": _csv, ".json": _json, ".txt": _lines}
