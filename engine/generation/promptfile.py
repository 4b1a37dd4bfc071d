"""A prompt file (.txt, .toml or .json) -> prompts. They are a prompt a line, [prompt] and [[prompt.subset]], and a list. No torch.

Every error names file and line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.config import toml_lines
from engine.config.toml_lines import KeyPath
from engine.errors import UserError, nearest
from engine.generation.prompt import Prompt, parse_line, parse_table

ENDINGS = (".txt", ".toml", ".json")
_AS_SETTING = "write the prompt into a text file (one a line) and give its path"


def read(path: Path, samplers: Collection[str] = ()) -> tuple[Prompt, ...]:
    """The prompts of a file, in its order; at least one. `samplers` are the valid sampler names; empty means any.

    Raises UserError for a missing or empty file, text that is not UTF-8, and anything in it that is not understood.
    """
    path = Path(path)
    if not os.path.isfile(path):  # Path.is_file raises for a name too long to be one
        raise _missing(path)
    if path.suffix.lower() == ".toml":
        prompts = _from_toml(path, samplers)
    elif path.suffix.lower() == ".json":
        prompts = _from_json(path, samplers)
    else:
        prompts = [
            parse_line(line, f"{path}:{number}", samplers)
            for number, line in enumerate(toml_lines.read_text(str(path)).splitlines(), start=1)
            if line.strip() and not line.lstrip().startswith("#")
        ]
    if not prompts:
        raise UserError("there is no prompt in this file", "write one a line, such as `a cat --w 512 --h 512 --d 42`", where=str(path))
    return tuple(prompts)


def _missing(path: Path) -> UserError:
    """Why there is no such file, with the likeliest remedy."""
    name = str(path)
    if os.path.isdir(path):
        return UserError("this is a folder; prompts come from a file", "name the file in it", where=name)
    if path.suffix.lower() not in ENDINGS and (" " in path.name or "," in name):
        return UserError("there is no prompt file of this name; it reads like a prompt", _AS_SETTING, where=name)
    beside = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in ENDINGS) if os.path.isdir(path.parent) else []
    close = nearest(path.name, beside)
    hint = f"Did you mean `{path.parent / close[0]}`?" if close else "check `sample_prompts`, or leave it out to make no sample pictures"
    return UserError("there is no prompt file of this name", hint, where=name)


@dataclass(frozen=True)
class _Source:
    """A file whose keys' lines are known."""

    path: Path
    lines: Mapping[KeyPath, int]
    samplers: Collection[str]

    def place(self, at: KeyPath) -> str:
        """`file:line` of a key, or of the file's first line where it has none."""
        return f"{self.path}:{self.lines.get(at, 1)}"

    def prompt(self, at: KeyPath, *tables: tuple[KeyPath, Mapping[str, object]]) -> Prompt:
        """The prompt at `at`, from tables with their places; later ones win. Keys are read singly first: an error names its line."""
        merged: dict[str, object] = {}
        for place, table in tables:
            for key, value in table.items():
                parse_table({key: value}, self.place((*place, key)), self.samplers)
            merged.update(table)
        return parse_table(merged, self.place(at), self.samplers)


def _from_toml(path: Path, samplers: Collection[str]) -> list[Prompt]:
    """[prompt] holds what all share, each [[prompt.subset]] one prompt; [prompt] alone is one prompt."""
    table, lines = toml_lines.read_file(str(path))
    source = _Source(path, lines, samplers)
    shared = table.pop("prompt", None)
    if not isinstance(shared, dict) or table:
        odd = next(iter(table), "prompt")
        said = f"a prompt file has [prompt] and [[prompt.subset]]; here is `{odd}`"
        raise UserError(said, "put every key under one of them", where=source.place((odd,)))
    top: KeyPath = ("prompt",)
    subsets = shared.pop("subset", None)
    if subsets is None:
        return [source.prompt(top, (top, shared))]
    if not isinstance(subsets, list) or not all(isinstance(subset, dict) for subset in subsets):
        where = source.place((*top, "subset"))
        raise UserError("`subset` is no list of tables", "write [[prompt.subset]], with two brackets", where=where)
    places: list[KeyPath] = [(*top, "subset", index) for index in range(len(subsets))]
    return [source.prompt(place, (top, shared), (place, subset)) for place, subset in zip(places, subsets, strict=True)]


def _from_json(path: Path, samplers: Collection[str]) -> list[Prompt]:
    """A list of objects with sd-scripts' keys, or of lines as in a text file."""
    text = toml_lines.read_text(str(path))
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"this is not valid JSON: {error.msg}", "check commas and quotes", where=f"{path}:{error.lineno}") from error
    if not isinstance(entries, list):
        raise UserError("a prompt file in JSON is a list", "put [ and ] around the prompts", where=f"{path}:1")
    source = _Source(path, toml_lines.json_lines(text), samplers)
    prompts = []
    for index, entry in enumerate(entries):
        if isinstance(entry, str):
            prompts.append(parse_line(entry, source.place((index,)), samplers))
        elif isinstance(entry, dict):
            prompts.append(source.prompt((index,), ((index,), entry)))
        else:
            hint = 'write {"prompt": "a cat", "seed": 42} or "a cat --d 42"'
            raise UserError(f"{entry!r} is no prompt", hint, where=source.place((index,)))
    return prompts
