"""`doctor`: what works on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine import __version__
from engine.commands import command
from engine.commands.command import Command, say
from engine.config.field import setting
from engine.environment import ROOT
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.config.load import Loaded

USUAL = "AdamW"  # the optimizer that the proof trains with first


@dataclass(frozen=True)
class Options:
    """What `doctor` takes."""

    run: bool = setting(False, "train a few real steps too, which proves that training works", variable="run_training")
    without: tuple[str, ...] = setting((), "with --run: optional packages (as pip calls them) that are left alone, as if not installed")


def run(options: Options, loaded: Loaded) -> int:
    """Print the report and keep it for a bug report; 1 where training cannot work."""
    from engine import doctor, files

    report = doctor.report(ROOT)
    lines = [doctor.render(report)]
    say(lines[0])
    ready = report.ok
    if options.run and ready:
        lines.extend(_proof(options.without))
        ready = lines[-1].startswith("ready: ")
    text = ROOT / "logs" / "doctor.txt"
    try:
        files.write_text(text, doctor.redact("\n".join([f"portable trainer {__version__}", *lines, ""]), ROOT))
        say(f"(this text, without your name, is in {text.relative_to(ROOT)} for a bug report)")
    except UserError as error:
        say(f"(this text could not be kept in {text.relative_to(ROOT)}: {error.message})")
    return 0 if ready else 1


def _proof(without: Sequence[str]) -> list[str]:
    """Train a few steps for real; what was said, the verdict last."""
    from engine import device, optional

    for name in without:
        optional.hide(optional.MODULES.get(name, name))
    from engine.training import proof

    said: list[str] = []

    def tell(text: str) -> None:
        said.append(text)
        say(text)

    try:
        proof.imports(tell)
        compute, _ = device.choose(None, None)
        faults = proof.try_optional(compute, without, tell)
        with proof.temporary(ROOT) as folder:

            def train_with(optimizer: str) -> proof.Proof:
                return proof.prove(command.settings(proof.settings(ROOT, folder, optimizer)).config, tell)

            done = train_with(USUAL)
            proof.prove_optimizers(_of_presets(tell), compute, faults, train_with, tell)
            tell(f"ready: {done}")
    except (UserError, RuntimeError, OSError) as error:  # what a broken card, driver or package raises
        tell(f"the proof failed: {type(error).__name__}: {error}")
    return said


def _of_presets(tell: Callable[[str], None]) -> list[str]:
    """The optimizers that the presets use beside the usual one; a file that cannot be read is told."""
    found = dict.fromkeys(_optimizer_of(path, tell) for path in sorted((ROOT / "configs").glob("*.toml")))
    return [name for name in found if name != USUAL]


def _optimizer_of(path: Path, tell: Callable[[str], None]) -> str:
    try:
        return command.settings(["--config", str(path)]).config.optimizer.optimizer_type
    except UserError as error:
        tell(f"configs/{path.name} cannot be used: {error}")
        return USUAL


COMMAND = Command(
    name="doctor",
    help="say what works on this machine, in a text for bug reports; with --run train a few steps to prove it",
    example="doctor --run",
    options=Options,
    run=run,
)
