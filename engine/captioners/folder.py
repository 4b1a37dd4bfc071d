"""A captioner's folder: which files it needs, and if they are the right ones.

Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from engine import files, headers, pickled
from engine.captioners import Captioner
from engine.errors import UserError

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in order of preference
FILES = ((CONFIG,), (TOKENIZER,), WEIGHTS)  # one of each
_AGAIN = "download or copy the file again"


@dataclass(frozen=True)
class Folder:
    """A captioner's folder that has been looked at: what its files say."""

    path: Path
    tokenizer: Tokenizer
    weights: Path


def missing(row: Captioner, folder: Path) -> list[str]:
    """The names of the files that are not there; of the weights the preferred one, where neither is."""
    return [names[0] for names in FILES if not any((folder / name).is_file() for name in names)]


def lacking(row: Captioner, folder: Path) -> UserError:
    """What to say where files are missing: which, from where, to where."""
    hint = (
        f"`python -m engine download captioner {row.name}` gets them (about {row.gigabytes} GB); "
        f"without internet, copy them there from {row.repo} on the hub"
    )
    return UserError(f"the captioner {row.name} needs {_listed(missing(row, folder))} here", hint, where=str(folder))


def look(row: Captioner, folder: Path) -> Folder:
    """Read what is small, and the list of the weights' tensors. Raises UserError, naming the files, where one is missing or wrong."""
    if missing(row, folder):
        raise lacking(row, folder)
    _require_kind(row, folder / CONFIG)
    weights = next(folder / name for name in WEIGHTS if (folder / name).is_file())
    return Folder(folder, _tokenizer(folder / TOKENIZER), weights)


def require_tokens(found: Folder, number: int, count: int, row: Captioner) -> None:
    """Raise UserError where the row's own token has another number in the tokenizer, or the tokenizer knows more than `count` tokens."""
    there = found.tokenizer.token_to_id(row.token)
    if there != number or found.tokenizer.get_vocab_size() > count:
        message = f"this tokenizer is not that of {row.name}: `{row.token}` has the number {there}, and {CONFIG} says {number}"
        raise UserError(message, f"take all files from one place: {row.repo} on the hub", where=str(found.path / TOKENIZER))


def require_tensors(found: Folder, wanted: Mapping[str, Sequence[int]], same: Mapping[str, str], row: Captioner) -> None:
    """Raise UserError where the weights lack one of these tensors, or have it in another shape. No weight is read.

    `same` has other names of tensors: a file may hold one under any of them.
    """
    there = _shapes(found.weights)
    there = {**{same[name]: shape for name, shape in there.items() if name in same}, **there}
    lacking = [name for name in wanted if name not in there]
    other = [name for name in wanted if name in there and there[name] != tuple(wanted[name])]
    if lacking:
        message = f"{len(lacking)} of the {len(wanted)} tensors of {row.name} are not in it, for example `{lacking[0]}`"
    elif other:
        message = f"`{other[0]}` has the shape {list(there[other[0]])}, and {CONFIG} beside it says {list(wanted[other[0]])}"
    else:
        return
    raise UserError(message, f"take all files from one place: {row.repo} on the hub", where=str(found.weights))


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    if weights.suffix == ".safetensors":
        return {name: info.shape for name, info in headers.read(weights).tensors.items()}
    with files.reading(weights):
        return {name: tensor.shape for name, tensor in pickled.contents(weights).tensors.items()}


def _require_kind(row: Captioner, path: Path) -> None:
    """Raise UserError where config.json is another model's."""
    with files.reading(path):
        raw = path.read_bytes()
    try:
        config = json.loads(raw)
        kind = config["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("this is not the configuration of a model", _AGAIN, where=str(path)) from error
    hint = f"put the files of {row.repo} there"
    if "auto_map" in config:
        raise UserError("this model runs Python code of its own, and no downloaded code is run here", hint, where=str(path))
    if kind != row.model_type:
        raise UserError(f"this is a model of the kind `{kind}`; {row.name} is of the kind `{row.model_type}`", hint, where=str(path))


def _tokenizer(path: Path) -> Tokenizer:
    with files.reading(path):
        text = path.read_bytes()
    try:
        return Tokenizer.from_str(text.decode("utf-8"))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exceptions
        raise UserError(f"this is not a tokenizer ({error})", _AGAIN, where=str(path)) from error


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
