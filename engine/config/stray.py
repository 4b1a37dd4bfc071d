"""What to write instead of a word that belongs to no option. One place makes these sentences for every command."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from engine.errors import nearest


@dataclass(frozen=True)
class Before:
    """The option that a word stands behind, and which took what it takes. `text`: its values are texts."""

    name: str
    values: tuple[str, ...]
    equals: bool
    takes: str  # completes `--name takes`
    text: bool


def near(name: str, known: Sequence[str]) -> str:
    """The known name closest to `name`; empty where none is near."""
    return next(iter(nearest(name, tuple(known))), "")


def remedy(word: str, own: Mapping[str, str], settings: bool) -> str:
    """What to write for a word whose own form says what it is; empty where it says nothing.

    `own` are the command's own options and what stands behind each in its help; `settings`: it takes settings too.

    >>> remedy("my.toml", {}, True), remedy("6006", {"port": "NUMBER"}, False), remedy("a cat", {"prompt": "TEXT ..."}, True)
    ('--config my.toml', '--port 6006', '')
    """
    ending, shown = PurePath(word).suffix.lower(), quoted(word)
    behind = {kind.split()[0]: f"--{name}" for name, kind in reversed(list(own.items())) if kind}
    if word.isdigit():
        return f"{behind['NUMBER']} {shown}" if "NUMBER" in behind else ""
    if not settings:
        return f"{behind['FOLDER']} {shown}" if "FOLDER" in behind else f"{behind['FILE']} {shown}" if ending and "FILE" in behind else ""
    if ending in (".toml", ".json"):
        return f"--config {shown}"
    base = f"--pretrained_model_name_or_path {shown}"
    if ending in (".ckpt", ".pt") or os.path.isfile(os.path.join(word, "model_index.json")):
        return base
    if ending == ".safetensors":
        lora = "--lora" if "lora" in own else "--network_weights"
        return f"{lora} {shown} for a LoRA, {base} for a base model"
    if os.path.isdir(word):
        return f"{behind.get('FOLDER', '--train_data_dir')} {shown}"
    return f"--sample_prompts {shown}" if ending == ".txt" and os.path.isfile(word) else ""


def belongs_to_none(said: str) -> str:
    """The sentence about a word for which there is a remedy."""
    return f"belongs to no option; write {said}"


def unclaimed(words: Sequence[str], before: Before | None, own: Mapping[str, str], settings: bool) -> str:
    """The sentence about bare words that say nothing of themselves, in front of every option or behind one that is complete."""
    together = " ".join(words)
    text = next((name for name, behind in own.items() if behind.startswith("TEXT")), "")
    if before is not None and before.text and before.equals:
        whole = quoted(f"{before.values[-1]}:{together}")
        spaced = quoted(f"{before.values[-1]} {together}")
        return (
            f"belongs to no option: --{before.name}={before.values[-1]} is complete. A value with a space or a colon in it stands between "
            f"quotes behind a space: --{before.name} {spaced}, --{before.name} {whole}"
        )
    if before is not None and before.text and before.values:
        example = quoted(f"{before.values[-1]} {together}")
        return f"belongs to no option: --{before.name} takes {before.takes}: --{before.name} {example}"
    if text and together.strip():
        return belongs_to_none(f"--{text} {quoted(together, always=True)}")
    if before is not None:
        return f"belongs to no option: --{before.name} takes {before.takes}"
    return f"belongs to no option. {_listed(own, settings)}"


def miswritten(
    word: str, dashes: str, exact: str, close: str, values: Sequence[str], before: Before | None, own: Mapping[str, str], settings: bool
) -> str:
    """The sentence about an option that is not written with two dashes. `exact` is its name, `close` the nearest to what it is not."""
    line = " ".join(["", *map(quoted, values)])
    if exact:
        return f"{'' if dashes == '--' else 'options begin with two dashes; '}write --{exact}{line}"
    if close:
        return f"there is no such option. Did you mean `--{close}{line}`?"
    owner = f"--{before.name}" if before is not None and before.text else ""
    value = f". A value that begins with a dash stands behind an equals sign: {owner}={quoted(word)}" if owner else ""
    return f"there is no such option. {_listed(own, settings)}{value}"


def there_are(own: Mapping[str, str]) -> str:
    """A command's own options in a sentence."""
    listed = [f"--{name} {behind}".rstrip() for name, behind in own.items()]
    return f"Its options: {', '.join(listed)}" if listed else "It has no options"


def _listed(own: Mapping[str, str], settings: bool) -> str:
    return "Options begin with two dashes, and `--help` lists them" if settings else there_are(own)


def quoted(word: str, *, always: bool = False) -> str:
    """A word as it is typed: between quotes where a shell would take it apart."""
    if not always and re.fullmatch(r"[\w./\\:=+%@~-]+", word):
        return word
    return f"'{word}'" if '"' in word else f'"{word}"'
