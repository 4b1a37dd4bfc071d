"""python -m engine <command>: the table of commands. Each imports what it needs only when it is called."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine import __version__, environment
from engine.config import HANDOVER
from engine.errors import UserError, did_you_mean, plural

if TYPE_CHECKING:
    from engine.config.load import Loaded

ROOT = Path(__file__).resolve().parent.parent  # the product's folder: engine/, configs/, models/, ...
PYTHONS = ("python_310/python.exe", ".venv/bin/python")  # those that a set-up makes
OURS = ("engine", "install", "recipes", "benchmarks")  # packages of the product itself


def _load(arguments: Sequence[str], own: Sequence[str] = (), required: Sequence[str] = ()) -> tuple[Loaded, dict[str, tuple[str, ...]]]:
    """The settings of a command line, and the command's own options, which `own` gives as the help writes them."""
    from engine import registries
    from engine.config.flags import split
    from engine.config.load import load

    line = split(arguments, own)
    return load(line.sources, registries.rows(), required), line.own


def _train(arguments: Sequence[str]) -> int:
    loaded, _ = _load(arguments, required=("pretrained_model_name_or_path", "train_data_dir"))
    from engine.awake import kept_awake
    from engine.training.train import train

    with kept_awake():
        return 130 if train(loaded.config, loaded.notices).interrupted else 0


def _cache(arguments: Sequence[str]) -> int:
    loaded, _ = _load(arguments, required=("pretrained_model_name_or_path", "train_data_dir"))
    from engine.awake import kept_awake
    from engine.training.train import fill_caches

    with kept_awake():
        fill_caches(loaded.config, loaded.notices)
    return 0


def _check(arguments: Sequence[str]) -> int:
    loaded, own = _load(arguments, own=_own("check"), required=("train_data_dir",))
    from engine.tools.check import run

    return run(loaded.config, loaded.notices, sheet=_one(own, "sheet"))


def _sample(arguments: Sequence[str]) -> int:
    loaded, own = _load(_with_settings_of_lora(arguments), own=_own("sample"))
    loras, prompts = _some(own, "lora"), _some(own, "prompt")
    from engine import allocation, device
    from engine.console import Reporter
    from engine.generation.command import run

    reporter = Reporter(plain=loaded.config.log.console_log_simple)
    compute, notices = device.choose(loaded.config.training.device, loaded.config.training.mixed_precision)
    for notice in (*loaded.notices, *notices):
        reporter.notice(notice)
    with allocation.shortage_explained("close other programs that use it, or ask for smaller pictures (--w, --h)"):
        made = run(
            loaded.config,
            device=compute.device,
            dtype=compute.dtype,
            loras=loras,
            prompts=prompts,
            folder=_one(own, "out"),
            say=reporter.say,
        )
    for notice in made.notices:
        reporter.notice(notice)
    reporter.say(f"{plural(len(made.pictures), 'picture')}: {made.page}")
    return 0


def _with_settings_of_lora(arguments: Sequence[str]) -> list[str]:
    """The words with `--config` for the settings that lie beside the first LoRA, where no file of settings is named."""
    words = list(arguments)
    options = [word.partition("=") for word in words]
    if any(name in ("--config", "--config_file") for name, _, _ in options):
        return words
    following = [*words[1:], ""]
    loras = [value if equals else following[at] for at, (name, equals, value) in enumerate(options) if name == "--lora"]
    settings = Path(loras[0] if loras else "").parent / "settings.toml"
    if not loras or not settings.is_file():
        return words
    first = next(at for at, word in enumerate(words) if word.startswith("--"))  # words before it belong to no option, and not to this one
    return [*words[:first], "--config", str(settings), *words[first:]]


def _inspect(arguments: Sequence[str]) -> int:
    from engine.config.words import own_only

    paths, _ = own_only(arguments, _own("inspect"), bare=True)
    if not paths:
        raise UserError("`inspect` takes files", "python -m engine inspect output/demo/demo.safetensors")
    from engine.tools.inspect import describe

    for number, path in enumerate(paths):
        _print(("\n" if number else "") + describe(Path(path)))
    return 0


def _download(arguments: Sequence[str]) -> int:
    from engine import downloads
    from engine.config.words import own_only
    from engine.tools import download

    words, own = own_only(arguments, _own("download"), bare=True)
    if len(words) != 1:
        got = ", ".join(f"`{word}`" for word in words) or "none"
        raise UserError(f"`download` takes one address or name on the hub, and got {got}", "python -m engine download owner/name")
    hub = downloads.read(ROOT)["hub"].base
    mirror = own.get("mirror") or os.environ.get("HF_ENDPOINT", "")
    found = download.run(
        words[0], ROOT / "models", hub, mirror=mirror.rstrip("/"), sha256=own.get("sha256", ""), out=own.get("out", ""), say=_print
    )
    _print(f'to train on it: pretrained_model_name_or_path = "{found.as_posix()}"')
    return 0


def _bundle(arguments: Sequence[str]) -> int:
    from engine import downloads
    from engine.config.words import own_only
    from engine.tools import bundle

    _, own = own_only(arguments, _own("bundle"))
    builds = tuple(filter(None, own.get("wheels", "").split(","))) or (bundle.BUILDS if "wheels" in own else ())
    unknown = [name for name in builds if name not in bundle.BUILDS]
    if unknown:
        message = f"`bundle` does not know `{unknown[0]}`"
        raise UserError(message, f"--wheels takes nothing or builds of torch: {', '.join(bundle.BUILDS)}", where="bundle")
    name = f"portable-lora-trainer-{__version__}-windows{'-offline' if builds else ''}.zip"
    bundle.make(ROOT, Path(own.get("out") or ROOT / "dist" / name), downloads.read(ROOT), builds, _print)
    return 0


def _doctor(arguments: Sequence[str]) -> int:
    from engine import doctor, files
    from engine.config.words import own_only

    _, own = own_only(arguments, _own("doctor"))
    report = doctor.report(ROOT)
    lines = [doctor.render(report)]
    _print(lines[0])
    ready = report.ok
    if "run" in own and ready:
        lines.extend(_proof())
        ready = lines[-1].startswith("ready: ")
    text = ROOT / "logs" / "doctor.txt"
    try:
        files.write_text(text, doctor.redact("\n".join([f"portable trainer {__version__}", *lines, ""]), ROOT))
        _print(f"(this text, without your name, is in {text.relative_to(ROOT)} for a bug report)")
    except UserError as error:
        _print(f"(this text could not be kept in {text.relative_to(ROOT)}: {error.message})")
    return 0 if ready else 1


def _proof() -> list[str]:
    """Train a few steps for real; what was said, the verdict last."""
    from engine.training import proof

    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        _print(text)

    try:
        proof.imports(say)
        with proof.temporary(ROOT) as folder:
            loaded, _ = _load(proof.settings(ROOT, folder))
            say(f"ready: {proof.prove(loaded.config, say)}")
    except (UserError, RuntimeError, OSError) as error:  # what a broken card, driver or package raises
        say(f"the proof failed: {type(error).__name__}: {error}")
    return said


def _tensorboard(arguments: Sequence[str]) -> int:
    from engine.config.words import own_only

    _, own = own_only(arguments, _own("tensorboard"))
    from engine.tools import tensorboard

    port = own.get("port", str(tensorboard.PORT))
    if not port.isdigit():
        raise UserError(f"`{port}` is not a port", "python -m engine tensorboard --logdir logs --port 6006 --browser")
    tensorboard.run(Path(own.get("logdir", "logs")), int(port), _print, browser="browser" in own)
    return 0


def _config(arguments: Sequence[str]) -> int:
    loaded, own = _load(arguments, own=_own("config"))
    if "reference" in own:
        from engine import registries
        from engine.config.reference import reference

        _print(reference(registries.rows()))
        return 0
    from engine.config.report import report

    _print(report(loaded))
    return 0


@dataclass(frozen=True)
class Command:
    """One command: its name, what it does, an example, the function that runs it and gives the exit status, and its own options."""

    name: str
    help: str
    example: str
    run: Callable[[Sequence[str]], int]
    own: tuple[tuple[str, str], ...] = ()  # as written, and what each does


_SAMPLE = 'sample --lora output/demo/demo.safetensors --prompt "momo, creature --d 1"'
_SAMPLE_OPTIONS = (
    ("--lora FILE ...", "LoRA files, a row of pictures for each; settings.toml beside the first is used where no --config is given"),
    ("--prompt TEXT ...", "prompts as in a prompt file: `a cat --n blurry --w 512 --h 512 --d seed --l scale --s steps`"),
    ("--out FOLDER", "gets compare.html and compare/; left out: the first LoRA's folder, without one sample/ in output_dir"),
)
_SHEET = (("--sheet FILE", "where the contact sheet goes; left out: check.html in output_dir"),)
_REFERENCE = (("--reference", "print configs/reference.toml instead: every setting with its default"),)
_HUB = "download owner/name --sha256 HASH --out models/name.safetensors"
_DOWNLOAD = (
    ("--sha256 HASH", "refuse a file with another hash"),
    ("--mirror ADDRESS", "ask this address in the hub's place; left out: what HF_ENDPOINT says"),
    ("--out FILE", "where it goes; left out: a name of its own in models/"),
)
_BUNDLE = (
    ("--wheels [BUILD,...]", "put packages in, so that it installs offline: for these builds of torch, or for all"),
    ("--out FILE", "where the zip goes; left out: dist/"),
)
_PROOF = (("--run", "train a few real steps"),)
_LOGS = (("--logdir FOLDER", "the logs; left out: logs"), ("--port NUMBER", "left out: 6006"), ("--browser", "open it in the browser"))
COMMANDS: tuple[Command, ...] = (
    Command("train", "train a LoRA", "train --config configs/demo.toml --max_train_epochs 4", _train),
    Command("check", "look at pictures and captions first; writes a contact sheet", "check --train_data_dir train_data", _check, _SHEET),
    Command("cache", "encode pictures and captions now, for later runs", "cache --config configs/demo.toml", _cache),
    Command("sample", "make pictures with a base model and, if given, LoRA files", _SAMPLE, _sample, _SAMPLE_OPTIONS),
    Command("inspect", "say what a model or LoRA file is", "inspect output/demo/demo.safetensors", _inspect),
    Command("tensorboard", "show the logs of training in the browser", "tensorboard --logdir logs --browser", _tensorboard, _LOGS),
    Command("config", "print every setting, its value and where it came from", "config --config configs/demo.toml", _config, _REFERENCE),
    Command("download", "get a base model or a VAE into models/", _HUB, _download, _DOWNLOAD),
    Command("bundle", "make the zip for Windows; with --wheels one that installs offline", "bundle --wheels cu130,cpu", _bundle, _BUNDLE),
    Command("doctor", "say what works on this machine; with --run train a few steps to prove it", "doctor --run", _doctor, _PROOF),
)


def _own(name: str) -> list[str]:
    """A command's own options, as its help writes them."""
    return [written for command in COMMANDS if command.name == name for written, _ in command.own]


def _help() -> str:
    width = max(len(command.name) for command in COMMANDS)
    lines = [f"portable trainer {__version__}", "", "python -m engine <command> [settings]", ""]
    lines.extend(f"  {command.name:<{width}}  {command.help}" for command in COMMANDS)
    lines.extend(["", "Settings are sd-scripts' options: --config file.toml, --network_dim 32, --set key=value; later ones win."])
    lines.append("configs/reference.toml lists all of them.")
    return "\n".join(lines)


def _command_help(command: Command) -> str:
    from engine.config.report import usage

    takes_settings = command.run in (_train, _cache, _check, _config, _sample)
    lines = [command.help, "", f"python -m engine {command.example}"]
    lines.extend(["", *(f"  {option:<36} {told}" for option, told in command.own)] if command.own else [])
    return "\n".join([*lines, "", usage()] if takes_settings else lines)


def _one(own: dict[str, tuple[str, ...]], name: str) -> str | None:
    """The value of a command's own option that takes one."""
    words = own.get(name)
    if words is None:
        return None
    if len(words) != 1:
        raise UserError(f"--{name} takes one value", f"--{name} value")
    return words[0]


def _some(own: dict[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    """The values of a command's own option that takes any number; written without one, it is a mistake and not left out."""
    words = own.get(name, ())
    if name in own and not all(word.strip() for word in words or ("",)):
        raise UserError(f"`--{name}` has no value", f"give one or more behind it, or leave --{name} away")
    return words


def _as_called(text: str) -> str:
    """`text` with its commands as they are typed here, in the product's folder: a PC may have no other `python`, or another."""
    ours = (name for name in PYTHONS if Path(sys.executable) == ROOT / name)
    return text.replace("python -m ", f"{Path(next(ours, 'python'))} -m ")


def _places(handed_over: str, message: str) -> list[str]:
    """Where the front script that called sets what the message speaks of."""
    from engine.config import handover

    with contextlib.suppress(UserError):  # a hand-over that cannot be read is what the message is about
        return handover.places(handed_over, message) if handed_over else []
    return []


def _missing_module(error: ModuleNotFoundError) -> UserError | None:
    """What to say where a package's module is missing; None for a module of Python's or of ours, which is a bug."""
    from engine import doctor

    top = (error.name or "").partition(".")[0]
    if not top or top in sys.stdlib_module_names or top in OURS:
        return None
    hint = f"run {doctor.SET_UP} again, which installs what is missing; `python -m engine doctor` lists it"
    for python in PYTHONS:
        folder = ROOT / python.partition("/")[0]
        if (ROOT / python).is_file() and not os.path.samefile(folder, sys.prefix):
            hint = f"this is {sys.executable}, and the packages are in {folder}: run {Path(python)} -m engine in the product's folder"
    return UserError(f"the Python module `{error.name}` is missing", hint)


def _missing_packages() -> list[str]:
    """A line about pinned packages that are not here whole, for under an error of any kind: half a package breaks in many ways."""
    from engine import doctor

    found = doctor.packages(ROOT / "requirements.txt", required=True)
    return [f"packages {it.name}: {it.value}; {it.hint}" for it in found if it.name == "missing"]


def _print(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def main(arguments: Sequence[str]) -> int:
    """Run a command line; the exit status: 0 done, 1 something to mend, 130 stopped by the user."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream that was replaced by something simpler
            stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # a code page lacks most characters
    handed_over = os.environ.pop(HANDOVER, "")  # so that no process started from here takes it for its own
    environment.apply(ROOT)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _print(_as_called(_help()))
        return 0
    if arguments[0] in ("-V", "--version"):
        _print(f"portable trainer {__version__}")
        return 0
    name, *rest = arguments
    command = next((known for known in COMMANDS if known.name == name), None)
    try:
        if command is None:
            known = [entry.name for entry in COMMANDS]
            raise UserError(f"there is no command `{name}`", did_you_mean(name, known) or f"the commands are {', '.join(known)}")
        if handed_over:
            from engine.config import handover

            rest = [*handover.words(handed_over, name), *rest]
        if "-h" in rest or "--help" in rest:
            _print(_as_called(_command_help(command)))
            return 0
        return command.run(rest)
    except UserError as error:
        return _refuse(error, handed_over)
    except ModuleNotFoundError as error:
        told = _missing_module(error)
        if told is None:
            raise
        return _refuse(told, "")
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what was cached or saved before is kept\n")
        return 130
    except Exception:
        missing = _missing_packages()
        if not missing:
            raise
        traceback.print_exc()
        sys.stderr.writelines(f"{line}\n" for line in missing)
        return 1


def _refuse(error: UserError, handed_over: str) -> int:
    sys.stderr.write(f"error: {_as_called(str(error))}\n")
    sys.stderr.writelines(f"{line}\n" for line in _places(handed_over, str(error)))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
