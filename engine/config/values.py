"""A value as it is written -> one of the right type, or why it is none. It may stand in a file or on a command line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from engine.config.keys import Key
from engine.config.rows import HelpRow
from engine.errors import did_you_mean, names, row_named
from engine.pixels import rgb

NO_VALUE = ()  # what an option of the command line without a value gives


class BadValue(ValueError):
    """A value that does not fit its key; the text says why, in one line."""


def read(key: Key, raw: object, rows: Sequence[HelpRow] = ()) -> object:
    """The value of `key` that `raw` means. `rows` is the registry that `key.meta.rows` names.

    Numbers and truth values may be given as text. An empty text means None where None is a value. `meta.alone` is what an option means
    that was written without a value.
    """
    if raw == NO_VALUE and key.meta.alone is not None:
        return key.meta.alone
    if key.optional and (raw is None or raw == "" or (key.type is not str and str(raw).lower() == "none")):
        return None
    if raw is None:
        raise BadValue("a value is missing")
    if key.type is tuple and key.meta.kind != "size":
        return _several(key, raw)
    if key.meta.kind:
        value = _special(key, raw)
    elif key.meta.rows:
        value = _row_name(text(raw), rows)
    elif key.meta.choices:
        value = _choice(scalar(key.type, raw), key.meta.choices)
    else:
        value = scalar(key.type, raw)
    if isinstance(value, float | int) and not isinstance(value, bool):
        if key.meta.off_at_zero and (value == 0 or (value < 0 and key.meta.low is None)):
            return None
        _in_range(value, key)
    return value


def _several(key: Key, raw: object) -> tuple[object, ...]:
    """Any number of texts, paths or choices; choices may stand behind each other with commas."""
    given = list(raw) if isinstance(raw, list | tuple) else [raw]
    if not key.meta.choices:
        return tuple(path(part) if key.meta.kind == "path" else text(part) for part in given)
    parts = [part.strip() for word in given for part in text(word).split(",")]
    return tuple(dict.fromkeys(_choice(part, key.meta.choices) for part in parts))


def scalar(kind: type, raw: object) -> bool | float | str:
    """`raw` as bool, int, float or str."""
    if kind is bool:
        return boolean(raw)
    if kind is int:
        return whole(raw)
    if kind is float:
        return number(raw)
    return text(raw)


def boolean(raw: object) -> bool:
    """True and false, also as text, 1 and 0; an option without a value is true."""
    if raw == NO_VALUE:
        return True
    word = _one(raw, "true or false").strip().lower()
    if word not in ("true", "1", "false", "0"):
        raise BadValue(f"`{word}` is neither true nor false")
    return word in ("true", "1")


def number(raw: object) -> float:
    """A finite number, also as text: "1e-4"."""
    word = _one(raw, "a number").strip()
    try:
        value = float(word)
    except ValueError as error:
        raise BadValue(f"`{word}` is not a number") from error
    if not math.isfinite(value):
        raise BadValue(f"`{word}` is not a finite number")
    return value


def whole(raw: object) -> int:
    """A whole number, also as text or written as 1e3."""
    word = _one(raw, "a whole number")
    if re.fullmatch(r"\s*[+-]?\d+\s*", word):
        return int(word)
    try:
        value = float(word)
    except ValueError as error:
        raise BadValue(f"`{word}` is not a whole number") from error
    if not value.is_integer():
        raise BadValue(f"`{word}` is not a whole number")
    return int(value)


def text(raw: object) -> str:
    """A text; a number is taken as it is written."""
    if isinstance(raw, bool):
        raise BadValue(f"a text is expected, here is `{show(raw)}`")
    return _one(raw, "a text")


def _one(raw: object, what: str) -> str:
    """The text of one value, where a list or nothing was given too."""
    if raw == NO_VALUE:
        raise BadValue(f"{what} is missing")
    if isinstance(raw, list | tuple):
        if len(raw) == 1:
            return _one(raw[0], what)
        many = ", ".join(f"`{show(part)}`" for part in raw)
        raise BadValue(f"one value is expected, here are {len(raw)} ({many}); put a text with spaces between quotes")
    if isinstance(raw, dict):
        raise BadValue(f"{what} is expected, here is a table")
    word = show(raw)
    if not word.strip() and what != "a text":
        raise BadValue(f"{what} is missing: the value is empty")
    return word


def show(raw: object) -> str:
    """A value as a settings file shows it."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, list | tuple):
        return ", ".join(show(part) for part in raw)
    return str(raw)


def _choice(value: bool | float | str, choices: tuple[str | int, ...]) -> str | int:
    """The choice that a value means, in any capitals."""
    for choice in choices:
        if value == choice or (isinstance(value, str) and value.lower() == str(choice).lower()):
            return choice
    known = [str(choice) for choice in choices]
    only = known[0] if len(known) == 1 else "one of " + ", ".join(known)
    if value == "":
        raise BadValue(f"the value is empty; it is {only}")
    guess = did_you_mean(value, known) if isinstance(value, str) else ""
    raise BadValue(f"`{show(value)}` is not {only}" + (f". {guess}" if guess else ""))


def _row_name(name: str, rows: Sequence[HelpRow]) -> str:
    row = row_named(rows, name)
    if row is not None:
        return row.name
    known = [known for row in rows for known in names(row)]
    if not name.strip():
        raise BadValue(f"the value is empty; known are {', '.join(known)}")
    raise BadValue(f"`{name}` is not known. {did_you_mean(name, known) or 'Known: ' + ', '.join(known)}")


def _in_range(value: float, key: Key) -> None:
    low, high = key.meta.low, key.meta.high
    if (low is None or value >= low) and (high is None or value <= high):
        return
    if low is not None and high is not None:
        raise BadValue(f"{value:.10g} is outside {low:.10g} to {high:.10g}")
    raise BadValue(
        f"{value:.10g} is too small; at least {low:.10g}" if low is not None else f"{value:.10g} is too large; at most {high:.10g}"
    )


def _special(key: Key, raw: object) -> object:
    """The kinds of value that are more than a type."""
    readers = {
        "size": size,
        "pairs": pairs,
        "share": share,
        "rate": rate,
        "colour": colour,
        "device": device,
        "extension": extension,
        "path": path,
    }
    return readers[key.meta.kind](raw)


def size(raw: object) -> tuple[int, int]:
    """Width and height in pixels from 512, "512", "512,768" or [512, 768].

    >>> size("512,768"), size(512), size([512, 768])
    ((512, 768), (512, 512), (512, 768))
    """
    parts = [part for given in (raw if isinstance(raw, list | tuple) else [raw]) for part in re.split(r"[,xX]", show(given).strip("[]() "))]
    if len(parts) not in (1, 2):
        raise BadValue(f'`{show(raw)}` is not a size; write 512, "512,768" or [512, 768]')
    try:
        sides = [whole(part) for part in parts]
    except BadValue as error:
        raise BadValue(f'`{show(raw)}` is not a size; write 512, "512,768" or [512, 768]') from error
    if min(sides) < 64:
        raise BadValue(f"{min(sides)} pixels is too small; at least 64")
    return sides[0], sides[-1]


def share(raw: object) -> float:
    """A number of steps, or a share of all steps below 1, also as "5%".

    >>> share("5%"), share("100"), share(0.1)
    (0.05, 100.0, 0.1)
    """
    word = _one(raw, "a number of steps").strip()
    if not word.endswith("%"):
        return number(word)
    percent = number(word[:-1])
    if percent >= 100:
        raise BadValue(f"`{word}` is not below 100 %")
    return percent / 100


def rate(raw: object) -> float:
    """One learning rate. sd-scripts takes a list, of which its LoRA used the first; equal ones are one rate."""
    given = list(raw) if isinstance(raw, list | tuple) else [raw]
    rates = {number(part) for part in (given or [NO_VALUE])}
    if len(rates) > 1:
        raise BadValue(
            f"a rate for each text encoder (`{show(raw)}`) does not work yet; write one (sd-scripts used `{show(given[0])}` for both)"
        )
    return rates.pop()


def colour(raw: object) -> str:
    """`#rrggbb`, in small letters."""
    word = text(raw).lower()
    try:
        rgb(word)
    except ValueError as error:
        raise BadValue(f"{error}; write it as `#ffffff`") from error
    return word


def device(raw: object) -> str:
    """`cpu`, `cuda` or `cuda:<number>`."""
    word = text(raw).lower()
    if not re.fullmatch(r"cpu|cuda(:\d+)?", word):
        raise BadValue(f"`{word}` is not a device; write `cpu`, `cuda`, or `cuda:1` for the second GPU")
    return word


def extension(raw: object) -> str:
    """A file ending with its dot, or several in their order.

    >>> extension("txt"), extension(".caption, txt")
    ('.txt', '.caption,.txt')
    """
    given = raw if isinstance(raw, list | tuple) and len(raw) > 1 else [text(raw)]
    endings = [ending.strip() for part in given for ending in text(part).split(",")]
    return ",".join(ending if ending.startswith(".") else f".{ending}" for ending in endings)


def path(raw: object) -> str:
    """A path as given. A control character in it is an escape that nobody meant: "C:\\train" in a TOML file."""
    word = text(raw)
    if any(ord(letter) < 32 for letter in word):
        raise BadValue(
            f"{word!r} has a control character in it: inside \"...\" a backslash begins an escape; write '...' instead, or / for \\"
        )
    return word


def pairs(raw: object) -> dict[str, object]:
    """Options by name from `["a=1", "b=2"]` or a table. Values stay as given until their row gives them a type.

    >>> pairs(["conv_dim=4", "conv_alpha = 1"])
    {'conv_dim': '4', 'conv_alpha': '1'}
    """
    if isinstance(raw, Mapping):
        return dict(raw)
    if raw == "":
        return {}
    found: dict[str, object] = {}
    for part in raw if isinstance(raw, list | tuple) else [raw]:
        name, equals, value = show(part).partition("=")
        if not equals or not name.strip():
            raise BadValue(f'`{show(part)}` is not `name=value`; write ["conv_dim=4", "conv_alpha=1"]')
        if name.strip() in found:
            raise BadValue(f"`{name.strip()}` is named twice")
        found[name.strip()] = value.strip()
    return found
