"""What to write instead of a word that belongs to no option. One place makes these sentences for every command."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from engine.config import options
from engine.config.known import Known
from engine.errors import did_you_mean, nearest

_TWINS = {"batch_size": "train_batch_size", "num_repeats": "dataset_repeats"}  # keys of a dataset file -> what they are called elsewhere

_SHOWN = 12  # options that begin alike, in a message


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


def elsewhere(name: str) -> str:
    """Where a key belongs that is no setting of a run, but one of a dataset file; empty for any other name."""
    if name in _TWINS:
        return f"outside a dataset file this is called `{_TWINS[name]}`"
    if name in options.DATASET:
        return "this key belongs to a dataset file, under [general], [[datasets]] or [[datasets.subsets]]"
    return ""


def unknown(name: str, known: Known) -> str:
    """The sentence about an option that there is not."""
    told = elsewhere(name) if known.settings else ""
    begun = [f"--{option}" for option in known.begun(name)]
    if begun and not told:
        shown = [*begun[:_SHOWN], *([f"and {len(begun) - _SHOWN} more"] if len(begun) > _SHOWN else [])]
        return f"several options begin so: {', '.join(shown)}; write more of the one that is meant"
    guess = did_you_mean(name, known.names()).replace("`", "`--", 1)
    return told or f"unknown option. {guess or ('`python -m engine config` lists all' if known.settings else there_are(known))}"


def remedy(word: str, known: Known) -> str:
    """What to write for a word whose own form says what it is; empty where it says nothing, or is a bare path that the command takes.

    >>> remedy("my.toml", Known({}, settings=True)), remedy("a cat", Known({}, settings=True))
    ('--config my.toml', '')
    """
    if known.takes_words:
        return ""
    ending, shown = PurePath(word).suffix.lower(), quoted(word)
    behind = {key.behind.split()[0]: f"--{name}" for name, key in reversed(list(known.own.items())) if key.behind}
    if word.isdigit() and not (known.bare and os.path.isdir(word)):
        return f"{behind['NUMBER']} {shown}" if "NUMBER" in behind else ""
    if not known.settings:
        if known.bare:
            return ""
        return f"{behind['FOLDER']} {shown}" if "FOLDER" in behind else f"{behind['FILE']} {shown}" if ending and "FILE" in behind else ""
    if ending in (".toml", ".json"):
        return f"--config {shown}"
    base = f"--pretrained_model_name_or_path {shown}"
    if ending in (".ckpt", ".pt") or os.path.isfile(os.path.join(word, "model_index.json")):
        return base
    if ending == ".safetensors":
        lora = "--lora" if "lora" in known.own else "--network_weights"
        return f"{lora} {shown} for a LoRA, {base} for a base model"
    if os.path.isdir(word):
        return "" if known.bare else f"{behind.get('FOLDER', '--train_data_dir')} {shown}"
    return f"--sample_prompts {shown}" if ending == ".txt" and os.path.isfile(word) else ""


def belongs_to_none(said: str) -> str:
    """The sentence about a word for which there is a remedy."""
    return f"belongs to no option; write {said}"


def unclaimed(words: Sequence[str], before: Before | None, known: Known) -> str:
    """The sentence about bare words that say nothing of themselves, in front of every option or behind one that is complete."""
    together = " ".join(words)
    text = next((name for name, key in known.own.items() if key.behind.startswith("TEXT")), "")
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
    return f"belongs to no option. {_listed(known)}"


def second(name: str, first: str, words: Sequence[str]) -> str:
    """The sentence about bare words behind the only one that `--name` takes."""
    together = quoted(" ".join([first, *words]))
    return f"--{name} takes one value, and that is {quoted(first)} already; a path with spaces stands between quotes: {together}"


def miswritten(word: str, dashes: str, exact: str, close: str, values: Sequence[str], before: Before | None, known: Known) -> str:
    """The sentence about an option that is not written with two dashes. `exact` is its name, `close` the nearest to what it is not."""
    line = " ".join(["", *map(quoted, values)])
    if exact:
        return f"{'' if dashes == '--' else 'options begin with two dashes; '}write --{exact}{line}"
    if close:
        return f"there is no such option. Did you mean `--{close}{line}`?"
    owner = f"--{before.name}" if before is not None and before.text else ""
    value = f". A value that begins with a dash stands behind an equals sign: {owner}={quoted(word)}" if owner else ""
    path = f". A path that begins with a dash is written ./{word}" if known.bare and not known.settings else ""
    return f"there is no such option. {_listed(known)}{value or path}"


def there_are(known: Known) -> str:
    """A command's own options in a sentence."""
    listed = [written(name, known) for name in known.own]
    return f"Its options: {', '.join(listed)}" if listed else "It has no options"


def written(name: str, known: Known) -> str:
    """An option of the command's own as it is typed: `--out FILE`."""
    return f"--{name} {known.own[name].behind}".rstrip()


def _listed(known: Known) -> str:
    return "Options begin with two dashes, and configs/reference.toml lists them" if known.settings else there_are(known)


def quoted(word: str, *, always: bool = False) -> str:
    """A word as it is typed: between quotes where a shell would take it apart."""
    if not always and re.fullmatch(r"[\w./\\:=+%@~-]+", word):
        return word
    return f"'{word}'" if '"' in word else f'"{word}"'
