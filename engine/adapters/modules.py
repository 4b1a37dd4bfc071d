"""The modules of an adapter file, by its tensors' names and shapes. Imports no torch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from engine import adapterfiles, adapters
from engine.adapterfiles import ALPHA, Kind
from engine.adapters.forms import Shape
from engine.errors import UserError

AnyTensor = TypeVar("AnyTensor")


@dataclass(frozen=True)
class Outline:
    """One module of a file, without its values."""

    kind: Kind
    rank: int  # the inner dimension of its factors; 1 for a kind without


def grouped(tensors: Mapping[str, AnyTensor], where: str = "") -> dict[str, dict[str, AnyTensor]]:
    """A file's tensors by their module and the ends of their names. Raises UserError for a tensor of no module, and for no tensor."""
    found: dict[str, dict[str, AnyTensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        module, end = adapterfiles.split(name)
        if not module:
            raise _unreadable(f"this is not a LoRA file (its tensor `{name}`)", where)
        found[module][end] = tensor
    if not found:
        raise UserError("the file holds no LoRA module", "choose another file", where=where)
    return found


def outlines(shapes: Mapping[str, Shape], where: str = "") -> dict[str, Outline]:
    """The modules of a file of these tensors. They may be of several kinds.

    Raises UserError for a tensor of no module, a module of a kind that no method reads, and one that is not whole.
    """
    return {name: _outline(name, parts, where) for name, parts in grouped(shapes, where).items()}


def _outline(name: str, parts: Mapping[str, Shape], where: str) -> Outline:
    """One module from its tensors' shapes by the ends of their names."""
    again = "the file is damaged or half written; save or download it again"
    kind = adapterfiles.kind(parts)
    known = kind.suffixes if kind and any(row.kind is kind for row in adapters.METHODS) else ()
    strange = next((end for end in parts if end not in (*known, ALPHA)), "")
    if kind is None or not known:
        told = f"this file holds {kind.title}, which is not read" if kind else "this is not a LoRA file"
        raise _unreadable(f"{told} (its tensor `{name}.{next(iter(parts))}`)", where)
    if strange:
        raise _unreadable(f"`{name}` is {kind.title} and holds `{strange}` besides, which is not read", where)
    missing = [end for end in known if end not in parts]
    if missing:
        raise UserError(f"`{name}` has no `{missing[0]}`", again, where=where)
    alpha, ranked = parts.get(ALPHA), parts[kind.rank] if kind.rank else None
    if alpha is not None and math.prod(alpha) != 1:
        raise UserError(f"alpha of `{name}` is not one number: its shape is {list(alpha)}", again, where=where)
    if ranked is not None and (len(ranked) < 2 or not ranked[0]):
        raise UserError(f"`{name}.{kind.rank}` is no factor: its shape is {list(ranked)}", again, where=where)
    return Outline(kind, 1 if ranked is None else ranked[0])


def _unreadable(told: str, where: str) -> UserError:
    kinds = dict.fromkeys(row.kind.title for row in adapters.METHODS if row.kind)
    return UserError(told, f"choose a file of {' or '.join(kinds)} whose tensors are named as sd-scripts and LyCORIS do", where=where)
