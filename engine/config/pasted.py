"""A pasted command line of sd-scripts: its launcher, and what it leaves out.

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
from engine.config.problems import Origin, Problem
from engine.config.schema import Config
from engine.config.sources import Entry, Flags
from engine.config.stray import quoted
from engine.config.values import show
from engine.config.words import JOINTS

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
    goes_on: str = ""  # the sign that joins lines, where it ends the words: the others stood in the next line

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
        if self.goes_on:
            message = (
                "the line goes on behind this sign, which joins lines in another shell only; write all in one line "
                "(bash joins lines by \\, PowerShell by `, cmd by ^)"
            )
            found.append(Problem(Origin(flag=self.goes_on), "", message))
        return found

    @property
    def source(self) -> Flags:
        """What the line gets for the keys that it leaves out, below all other sources; and the note of what was left out."""
        cards = [name for name, _ in _options(self.launcher) if name in _CARDS]
        advice = "; --device chooses the card" if cards else ""
        note = f"left out: {' '.join(quoted(word) for word in self.launcher)}{advice}"
        return Flags(_defaults(), notices=(note,), pasted=True)


def find(given: Sequence[str]) -> Pasted | None:
    """The pasted line that these words hold, or None. Options of ours may stand before it and behind it."""
    at = next((at for at, word in enumerate(given) if _is_script(word)), None)
    if at is None:
        return None
    start = next((place for place, word in enumerate(given[:at]) if _is_program(word)), at)
    before = given[:start]
    if not any(word.startswith("-") for word in before):
        start = 0  # `sudo`, `CUDA_VISIBLE_DEVICES=1`
    elif start == at:
        return None  # the value of an option
    launcher = _unquoted([word for word in given[start : at + 1] if word not in JOINTS])
    behind = list(given[at + 1 :])
    goes_on = behind[-1] if behind and behind[-1] in JOINTS else ""
    words = _unquoted([word for word in behind if word not in JOINTS])
    return Pasted(tuple(launcher), (*given[:start], *words), goes_on)


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
    path = PureWindowsPath(word.strip("".join(_QUOTES)))
    return not word.startswith("-") and path.suffix.lower() == ".py" and path.name.lower() not in _PARTS_OF_LAUNCHERS


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
