"""A pasted line of sd-scripts: its launcher, and what it leaves out.

For instance `accelerate launch --num_cpu_threads_per_process 1 train_network.py --network_dim=128`. Launcher and script are left out, with
a note. What the line does not name is as in sd-scripts, where it changes what is learnt or saved: without its alpha of 1 that line would
train 16 times too strong. Which keys these are, and which keep our default, is said by the schema (`Meta.pasted`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath

from engine.config import sd_scripts
from engine.config.field import SAME, Ours
from engine.config.keys import Key, run_keys
from engine.config.known import Known, Takes
from engine.config.problems import Origin, Problem
from engine.config.schema import Config
from engine.config.sources import Entry, Flags
from engine.config.stray import quoted
from engine.config.values import show
from engine.config.words import JOINTS, parse

SD_DEFAULT = Origin(unset="sd-scripts' default, as the line was pasted")
OURS = Origin(unset="not sd-scripts' default, though the line was pasted")
_PROGRAM = re.compile(r"(accelerate|torchrun|deepspeed|pythonw?[\d.]*|pyw?)(\.exe|\.cmd|\.bat)?", re.IGNORECASE)
_PARTS_OF_LAUNCHERS = ("launch.py", "accelerate_cli.py")  # as in `python .../accelerate/commands/launch.py`
_COUNTS = ("num_processes", "num_machines", "nproc_per_node", "nnodes", "num_gpus")
_CARDS = ("gpu_ids", "cpu", "CUDA_VISIBLE_DEVICES")
_QUOTES = {"'": "'", '"': '"', "\u2018": "\u2019", "\u201c": "\u201d"}  # the last two are what web pages make of the others


@dataclass(frozen=True)
class Pasted:
    """A pasted line taken apart. `launcher` ends with the script; `words` are those of its options, and of ours around it."""

    launcher: tuple[str, ...]
    words: tuple[str, ...]
    joint: str = ""  # the sign that joins lines, where it ends the words: the others stood in the next line

    @property
    def refusal(self) -> Problem | None:
        """Why the line cannot be one of LoRA training; its options are then another script's."""
        script = self.launcher[-1]
        message = sd_scripts.refusal(script)
        return Problem(Origin(flag=PureWindowsPath(script).name), "", message) if message else None

    @property
    def problems(self) -> list[Problem]:
        """What the line asks for besides its options and what there is not; a line that was cut off."""
        found = []
        for name, value in _options(self.launcher):
            several = name in _COUNTS and not (value.isdigit() and int(value) <= 1)
            if several or (name == "multi_gpu" and value.lower() not in ("false", "0")):
                written = f"--{name} {value}".rstrip() if name in _COUNTS else f"--{name}"
                message = "several processes cannot train together yet; leave it out, and one trains on the card that --device names"
                found.append(Problem(Origin(flag=written), "", message))
        if self.joint:
            message = (
                "the line goes on behind this sign, which joins lines in another shell only; write all in one line "
                "(bash joins lines by \\, PowerShell by `, cmd by ^)"
            )
            found.append(Problem(Origin(flag=self.joint), "", message))
        return found

    @property
    def source(self) -> Flags:
        """What the line gets for the keys that it leaves out, below all other sources; and the note of what was left out."""
        cards = [name for name, _ in _options(self.launcher) if name in _CARDS]
        advice = "; --device chooses the card" if cards else ""
        note = f"left out: {' '.join(quoted(word) for word in self.launcher)}{advice}"
        return Flags(_defaults(), notices=(note,), pasted=True)


def find(given: Sequence[str], known: Known) -> Pasted | None:
    """The pasted line that these words hold, or None. Options that are `known` may stand before it and behind it."""
    scripts = (at for at, word in enumerate(given) if _is_script(word))
    at, start = next(((at, start) for at in scripts if (start := _start(given, at, known)) is not None), (0, None))
    if start is None:
        return None
    launcher = _unquoted([word for word in given[start : at + 1] if word not in JOINTS])
    words, joint = _joined(given[at + 1 :], known)
    return Pasted(tuple(launcher), (*given[:start], *_unquoted(words)), joint)


def _start(given: Sequence[str], at: int, known: Known) -> int | None:
    """Where the launcher begins of the script that stands at `at`; None where that is the value of an option.

    What stands before a program belongs to it, `sudo -E` and `CUDA_VISIBLE_DEVICES=1`, unless it is an option of ours.
    """
    start = next((place for place, word in enumerate(given[:at]) if _is_program(word)), at)
    before = given[:start]
    if not before or not (before[0].startswith("-") or any(_option(word, known) in known.names() for word in before)):
        return 0
    if start < at:
        return start
    name, values = next(reversed(parse(given[: at + 1], known).options), ("", ()))
    taken = given[at] in values and known.takes(name) is not Takes.PAIRS  # of which the script is none
    return None if taken or PureWindowsPath(_bare(given[at])).name.lower() not in sd_scripts.LORA else at


def notices(config: Config, origins: Mapping[str, Origin], named: Collection[str]) -> list[str]:
    """What a pasted line gets for what it leaves out, a line for sd-scripts' defaults and one for ours that a reader must know.

    `named` holds keys that a dataset file names.
    """
    silent = {*named, *_idle(config)}
    left = [key for key in run_keys().values() if not origins[key.name].given and key.name not in silent]
    values = {key.name: f"{key.name} {_shown(getattr(getattr(config, key.section), key.name))}" for key in left}
    theirs = [values[key.name] for key in left if origins[key.name] is SD_DEFAULT]
    ours: dict[str, list[str]] = {}
    for key in left:
        if isinstance(key.meta.pasted, Ours) and key.meta.pasted.told:
            ours.setdefault(key.meta.pasted.told, []).append(values[key.name] if origins[key.name] is OURS else key.name)
    told = []
    if theirs:
        told.append(f"as in sd-scripts, since the line does not name them: {', '.join(theirs)}")
    if ours:
        kept = [f"{' and '.join(names)} ({what})" for what, names in ours.items()]
        told.append(f"not as in sd-scripts: {', '.join(kept)}")
    return told


@functools.cache
def _defaults() -> tuple[Entry, ...]:
    """What a pasted line gets for each key that it may leave out, where that is not our default."""
    return tuple(entry for entry in map(_default, run_keys().values()) if entry.raw is not SAME)


def _default(key: Key) -> Entry:
    """sd-scripts' default, or ours; SAME is our default."""
    if isinstance(key.meta.pasted, Ours):
        return Entry(key.name, key.meta.pasted.value, OURS)
    return Entry(key.name, key.meta.sd_default, SD_DEFAULT)


def _idle(config: Config) -> Iterator[str]:
    """Keys that have no effect beside the others, so that their defaults are nothing to tell."""
    data, network, optimizer = config.data, config.network, config.optimizer
    sizes = [dataset.options for dataset in data.datasets] or [data.dataset_options()]
    if not any(size.enable_bucket and not size.bucket_no_upscale for size in sizes):
        yield from ("min_bucket_reso", "max_bucket_reso")
    if network.dim_from_weights:
        yield from ("network_dim", "network_alpha")
    if optimizer.unet_lr is not None and optimizer.text_encoder_lr is not None:
        yield "learning_rate"
    if config.sample.sample_prompts is None:
        yield "sample_sampler"


def _shown(value: object) -> str:
    """A value in a sentence: `2e-06`, `1`, `""`."""
    return f"{value:g}" if isinstance(value, float) else show(value) if value is not None else '""'


def _is_script(word: str) -> bool:
    """Whether a word names a Python file that a launcher starts."""
    path = PureWindowsPath(_bare(word))
    return not word.startswith("-") and path.suffix.lower() == ".py" and path.name.lower() not in _PARTS_OF_LAUNCHERS


def _bare(word: str) -> str:
    return word.strip("".join((*_QUOTES, *_QUOTES.values())))


def _is_program(word: str) -> bool:
    return _PROGRAM.fullmatch(PureWindowsPath(word).name) is not None


def _options(launcher: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The options of a launcher with what stands behind each, and the variables that are set for it."""
    for word, following in zip(launcher, launcher[1:], strict=False):
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            yield name[2:].replace("-", "_"), value if equals else "" if following.startswith("-") else following
        elif equals:
            yield name, value


def _option(word: str, known: Known) -> str:
    """The full name of the option that a word is; empty where it is none."""
    return known.meant(word[2:].partition("=")[0].replace("-", "_")) if word.startswith("--") else ""


def _joined(given: Sequence[str], known: Known) -> tuple[list[str], str]:
    """The words without the signs that join lines, and the sign that ends them. The text of an option may be such a sign: it is kept."""
    kept, joint = [], ""
    for word, before, behind in zip(given, ("", *given), (*given[1:], "--"), strict=False):
        text = "=" not in before and known.takes(_option(before, known)) in (Takes.TEXT, Takes.TEXTS)
        value = text and (behind.startswith("--") or behind in JOINTS)
        joint = word if word in JOINTS and not value else ""
        kept.extend([] if joint else [word])
    return kept, joint


def _unquoted(given: Sequence[str]) -> list[str]:
    """The words without quotes that were none to the shell, such as `'a b'` in cmd and typographic ones; what they hold is one word."""
    rest, found = list(given), []
    while rest:
        name, equals, value = rest[0].partition("=") if rest[0].startswith("--") else ("", "", rest[0])
        count = _quoted(value, rest[1:]) if value[:1] in _QUOTES else 0
        if count:
            value = " ".join([value, *rest[1:count]])[1:-1]
        found.append(f"{name}{equals}{value}")
        del rest[: count or 1]
    return found


def _quoted(value: str, following: Sequence[str]) -> int:
    """How many words a quoted text takes, `value` and those behind it; 0 where no quote ends it before the next option."""
    closing, so_far = _QUOTES[value[0]], value[1:]
    for count, word in enumerate([*following, "--"], 1):
        if so_far.endswith(closing):
            return count
        if word.startswith("--"):
            return 0
        so_far = f"{so_far} {word}"
    return 0
