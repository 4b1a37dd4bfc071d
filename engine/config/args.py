"""`network_args` and `optimizer_args`: the options of a registry's row. The row's own dataclass gives their types."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Mapping

from engine.config import options, values
from engine.config.keys import plain
from engine.config.problems import Findings
from engine.config.rows import OptionRow
from engine.config.schema import Arg
from engine.config.sources import Entry
from engine.config.values import BadValue
from engine.errors import did_you_mean


def check(entry: Entry, given: Mapping[str, object], row: OptionRow, findings: Findings) -> dict[str, Arg]:
    """The given options with the types that `row.options` says; what does not fit becomes a problem where the option stands."""
    key = entry.key
    hints = typing.get_type_hints(row.options)
    known: dict[str, typing.Any] = {field.name: field.default for field in dataclasses.fields(row.options)}
    others = {option.name: option for option in options.NETWORK_ARGS} if key == "network_args" else {}
    found: dict[str, Arg] = {}
    for name, raw in given.items():
        origin = entry.parts.get(name, entry.origin)
        if name in known:
            try:
                found[name] = _typed(name, hints[name], raw, known[name])
            except BadValue as error:
                findings.problem(origin, key, str(error) if name in entry.parts else f"{name}: {error}")
        elif name not in others:
            guess = did_you_mean(name, [*known, *others])
            listed = f"it has {', '.join(known)}" if known else "it has none"
            findings.problem(origin, key, f"`{name}` is no option of {row.name}. {guess or listed[:1].upper() + listed[1:]}")
        elif others[name].asks(raw) and others[name].state == options.NO_EFFECT:
            findings.notice(origin, key, f"`{name}` has no effect here; {others[name].says}")
        elif others[name].asks(raw):
            findings.problem(origin, key, f"`{name}` is not available yet; leave it out")
    return found


def _typed(name: str, hint: object, raw: object, default: Arg) -> Arg:
    """One option's value. Infinity is a number here; a tuple may be written `0.9,0.99` or `(0.9, 0.99)`.

    Nothing, where a word is to be chosen, is the default, as in LyCORIS.
    """
    if typing.get_origin(hint) is typing.Literal:
        return default if raw in ("", None) else _choice(name, typing.get_args(hint), raw)
    kind, optional = plain(hint)
    if raw is None or (optional and str(raw).lower() in ("", "none")):
        return None
    if kind is tuple:
        return _numbers(hint, raw)
    if kind is float and str(raw).lower() in ("inf", "infinity"):
        return math.inf
    return values.scalar(kind, raw)


def _choice(name: str, choices: tuple[str, ...], raw: object) -> str:
    """One of the words that an annotation lists, in whatever capitals."""
    word = values.text(raw).strip().lower()
    if word in choices:
        return word
    if word in options.ARG_VALUES_NOT_YET.get(name, "").split():
        raise BadValue(f"`{word}` is not available yet; there is {', '.join(choices)}")
    raise BadValue(f"`{word}` is no {name}. {did_you_mean(word, choices) or 'Choose one of ' + ', '.join(choices)}")


def _numbers(hint: object, raw: object) -> tuple[float, ...]:
    """A tuple of numbers, as many as the annotation says."""
    parts = raw if isinstance(raw, list | tuple) else re.split(r"[,\s]+", str(raw).strip("()[] "))
    found = tuple(values.number(part) for part in parts)
    wanted = typing.get_args(hint)
    if Ellipsis not in wanted and len(found) != len(wanted):
        raise BadValue(f"{len(wanted)} numbers are expected, here are {len(found)}")
    return found


def show(given: Mapping[str, Arg]) -> list[str]:
    """Options as sd-scripts writes them: `["conv_dim=4", "betas=0.9,0.99"]`.

    >>> show({"conv_dim": 4, "betas": (0.9, 0.99), "relative_step": False})
    ['conv_dim=4', 'betas=0.9,0.99', 'relative_step=false']
    """
    return [
        f"{name}={','.join(str(part) for part in value) if isinstance(value, tuple) else values.show(value)}"
        for name, value in given.items()
    ]
