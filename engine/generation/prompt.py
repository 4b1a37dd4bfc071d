"""Prompt syntax -> data: the text and the options of a line. Pure; the examples specify it.

`--n --w --h --d --s --l --ss` are the options of sd-scripts' previews; `--karras` and `--am` are ours. Unlike there, what stands before the
first option is always the prompt, numbers may be negative or decimal, and an unknown option is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from engine import seeds
from engine.errors import UserError, nearest

STEP = 8  # pixels; sizes are floored to a multiple of this
SMALLEST, LARGEST = 64, 8192  # pixels
MOST_STEPS = 1000


@dataclass(frozen=True)
class Prompt:
    """One prompt as it was written; None is what the run decides."""

    text: str
    negative: str = ""
    width: int | None = None  # pixels
    height: int | None = None  # pixels
    seed: int | None = None
    steps: int = 30
    scale: float = 7.5  # classifier-free guidance; 1 = none
    sampler: str | None = None
    karras: bool | None = None
    strength: float | None = None  # of the adapter
    where: str = field(default="", compare=False)  # "file:line", for messages


@dataclass(frozen=True)
class Shot:
    """One picture to make: a prompt with nothing left open. Fields as in `Prompt`."""

    text: str
    negative: str
    width: int
    height: int
    seed: int
    steps: int
    scale: float
    sampler: str
    karras: bool
    strength: float


def settle(prompt: Prompt, index: int, *, size: tuple[int, int], sampler: str, karras: bool, run_seed: int) -> Shot:
    """Fill what the prompt leaves open; `size` is (width, height), `index` the prompt's place in its file.

    A prompt without a seed gets one from (run_seed, index): the same at every step of a run and after a resume, so that its pictures can be
    compared.

    >>> shot = settle(Prompt("a cat", width=640), 0, size=(512, 512), sampler="euler_a", karras=False, run_seed=42)
    >>> shot.width, shot.height, shot.seed, shot.strength
    (640, 512, 572760577, 1.0)
    """
    return Shot(
        text=prompt.text,
        negative=prompt.negative,
        width=prompt.width or _size(size[0]),
        height=prompt.height or _size(size[1]),
        seed=drawn_seed(run_seed, index) if prompt.seed is None else prompt.seed,
        steps=prompt.steps,
        scale=prompt.scale,
        sampler=prompt.sampler or sampler,
        karras=karras if prompt.karras is None else prompt.karras,
        strength=1.0 if prompt.strength is None else prompt.strength,
    )


def drawn_seed(run_seed: int, index: int) -> int:
    """The seed, below 2^32, as every web UI needs it, of prompt `index` when it names none."""
    return seeds.derived(run_seed, "preview", index) >> 31


def _integer(raw: object) -> int:
    if isinstance(raw, str) and re.fullmatch(r"[+-]?\d+", raw):
        return int(raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    raise ValueError("a whole number")


def _decimal(raw: object) -> float:
    if isinstance(raw, str) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", raw):
        return float(raw)
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return float(raw)
    raise ValueError("a number")


def _size(raw: object) -> int:
    pixels = _integer(raw)
    if not 0 < pixels <= LARGEST:
        raise ValueError(f"a size in pixels, {SMALLEST} to {LARGEST}")
    return max(SMALLEST, pixels // STEP * STEP)


def _seed(raw: object) -> int | None:
    seed = _integer(raw)
    if not -1 <= seed < 2**64:
        raise ValueError("a seed from 0 to 2^64 - 1, or -1 for one drawn by the run")
    return None if seed == -1 else seed


def _steps(raw: object) -> int:
    steps = _integer(raw)
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"a number of steps, 1 to {MOST_STEPS}")
    return steps


def _words(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("text")
    return " ".join(raw.split())


def _name(raw: object) -> str:
    if not isinstance(raw, str) or not raw or " " in raw:
        raise ValueError("one word")
    return raw.lower()


def _switch(raw: object) -> bool:
    known = {"": True, "on": True, "true": True, "off": False, "false": False, True: True, False: False}
    word = raw.lower() if isinstance(raw, str) else raw
    if isinstance(word, (str, bool)) and word in known:
        return known[word]
    raise ValueError("on or off")


@dataclass(frozen=True)
class Option:
    """One option of a prompt: its flag in a line, its key in TOML and JSON, the field it fills, and how its value is read."""

    flag: str
    key: str
    field: str
    read: Callable[[object], object]
    help: str


OPTIONS = (
    Option("n", "negative_prompt", "negative", _words, "what the picture should not show"),
    Option("w", "width", "width", _size, "width in pixels"),
    Option("h", "height", "height", _size, "height in pixels"),
    Option("d", "seed", "seed", _seed, "seed; without it the run draws one"),
    Option("s", "sample_steps", "steps", _steps, "sampling steps"),
    Option("l", "scale", "scale", _decimal, "guidance (CFG) scale; 1 = none"),
    Option("ss", "sample_sampler", "sampler", _name, "sampler"),
    Option("karras", "karras", "karras", _switch, "Karras spacing of the noise levels"),
    Option("am", "strength", "strength", _decimal, "strength of the trained adapter; 0 = the base model"),
)
NOT_YET = {
    "cn": "ControlNet", "controlnet_image": "ControlNet", "g": "distilled guidance (FLUX)", "guidance_scale": "distilled guidance (FLUX)",
    "ctr": "guidance truncation (Lumina)", "cfg_trunc_ratio": "guidance truncation (Lumina)", "rcfg": "guidance renormalisation (Lumina)",
    "renorm_cfg": "guidance renormalisation (Lumina)", "fs": "flow shift", "flow_shift": "flow shift", "img": "inpainting",
}  # fmt: skip
_BY_FLAG = {option.flag: option for option in OPTIONS}
_BY_KEY = {option.key: option for option in OPTIONS}
_NETWORK_TAG = re.compile(r"<(lora|lyco|hypernet):[^>]*>")


def parse_line(line: str, where: str = "", samplers: Collection[str] = ()) -> Prompt:
    """One line of a prompt file. `samplers` are the valid names; empty means any. Raises UserError.

    >>> parse_line("a cat, (fluffy:1.2) --n blurry, bad --w 500 --H 768 --d 7 --s 20 --l -1.5 --ss euler --am 0.8")
    Prompt(text='a cat, (fluffy:1.2)', negative='blurry, bad', width=496, height=768, seed=7, steps=20, scale=-1.5, \
sampler='euler', karras=None, strength=0.8, where='')
    >>> parse_line("n a letter is no option at the start -- nor are two dashes alone").text
    'n a letter is no option at the start -- nor are two dashes alone'
    >>> parse_line("--n blurry --karras"), parse_line("--karras off").karras, parse_line("a --d -1").seed
    (Prompt(text='', negative='blurry', width=None, height=None, seed=None, steps=30, scale=7.5, sampler=None, karras=True, \
strength=None, where=''), False, None)
    >>> parse_line("a cat --wdth 512", where="prompts.txt:3")
    Traceback (most recent call last):
    engine.errors.UserError: prompts.txt:3: there is no prompt option `--wdth`
    hint: Did you mean `--w` (width in pixels)?
    """
    text, *segments = re.split(r"(?:^|\s)--(?=[A-Za-z])", line.strip())
    found: dict[str, object] = {}
    for segment in segments:
        flag, _, raw = segment.strip().partition(" ")
        option = _BY_FLAG.get(flag.lower())
        if option is None:
            _refuse(flag.lower(), "--", {**{name: name for name in _BY_FLAG}, **{o.key: o.flag for o in OPTIONS}, **_SPELLED_OUT}, where)
        if option.field in found:
            raise UserError(f"`--{option.flag}` stands twice in one prompt", "keep one of them", where=where)
        found[option.field] = _read(option, raw.strip(), f"--{option.flag}", where)
    return _prompt(_words(text), found, where, samplers)


_SPELLED_OUT = {"negative": "n", "neg": "n", "size": "w", "steps": "s", "cfg": "l", "sampler": "ss", "lora": "am", "weight": "am"}


def parse_table(table: Mapping[str, object], where: str = "", samplers: Collection[str] = ()) -> Prompt:
    """One prompt of a TOML or JSON file, under sd-scripts' keys. Raises UserError.

    >>> parse_table({"prompt": "a cat", "negative_prompt": "blurry", "width": 500, "sample_steps": 20, "scale": 7})
    Prompt(text='a cat', negative='blurry', width=496, height=None, seed=None, steps=20, scale=7.0, sampler=None, karras=None, \
strength=None, where='')
    >>> parse_table({"prompt": "a cat", "width": "wide"}, where="prompts.toml:4")
    Traceback (most recent call last):
    engine.errors.UserError: prompts.toml:4: `width` is 'wide'; it takes a whole number
    hint: width: width in pixels
    """
    found: dict[str, object] = {}
    for key, raw in table.items():
        if key == "prompt":
            continue
        option = _BY_KEY.get(key)
        if option is None:
            _refuse(key, "", {"prompt": "prompt", **{name: name for name in _BY_KEY}, **{o.flag: o.key for o in OPTIONS}}, where)
        found[option.field] = _read(option, raw, key, where)
    text = table.get("prompt", "")
    if not isinstance(text, str):
        raise UserError(f"`prompt` is {text!r}; it takes text", "put the prompt in quotes", where=where)
    return _prompt(_words(text), found, where, samplers)


def _read(option: Option, raw: object, shown: str, where: str) -> object:
    """The option's value, or a UserError that names it."""
    try:
        return option.read(raw)
    except ValueError as error:
        raise UserError(f"`{shown}` is {raw!r}; it takes {error}", f"{shown}: {option.help}", where=where) from None


def _prompt(text: str, found: dict[str, object], where: str, samplers: Collection[str]) -> Prompt:
    """The prompt with its options, once what only the run knows has been checked."""
    prompt = Prompt(text, where=where, **found)  # type: ignore[arg-type]  # each option's `read` gives its field's type
    if prompt.sampler is not None and samplers and prompt.sampler not in samplers:
        close = nearest(prompt.sampler, sorted(samplers))
        hint = f"Did you mean `{close[0]}`?" if close else f"the samplers are {', '.join(sorted(samplers))}"
        raise UserError(f"there is no sampler `{prompt.sampler}`", hint, where=where)
    tag = _NETWORK_TAG.search(text)
    if tag:
        hint = "leave it out: the adapter is applied by itself, and `--am 0.8` after the prompt sets its strength"
        raise UserError(f"`{tag.group()}` loads nothing here", hint, where=where)
    return prompt


def _refuse(name: str, dashes: str, known: Mapping[str, str], where: str) -> NoReturn:
    """Explain an option that does not exist, or not yet. `known` leads from every spelling to the right one."""
    if name in NOT_YET:
        raise UserError(f"`{dashes}{name}` ({NOT_YET[name]}) is not supported in sample pictures yet", "take it out", where=where)
    close = nearest(name, list(known))
    if close:
        right = known[close[0]]
        option = _BY_FLAG.get(right) or _BY_KEY.get(right)
        hint = f"Did you mean `{dashes}{right}`" + (f" ({option.help})?" if option else "?")
    else:
        hint = "the options are " + ", ".join(f"{dashes}{option.flag if dashes else option.key}" for option in OPTIONS)
    raise UserError(f"there is no prompt option `{dashes}{name}`", hint, where=where)
