"""`doctor`: what works on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine import __version__
from engine.commands.command import Command, say
from engine.config.field import setting
from engine.environment import ROOT
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.config.load import Loaded


@dataclass(frozen=True)
class Options:
    """What `doctor` takes."""

    run: bool = setting(False, "train a few real steps too, which proves that training works", variable="run_training")


def run(options: Options, loaded: Loaded) -> int:
    """Print the report and keep it for a bug report; 1 where training cannot work."""
    from engine import doctor, files

    report = doctor.report(ROOT)
    lines = [doctor.render(report)]
    say(lines[0])
    ready = report.ok
    if options.run and ready:
        lines.extend(_proof())
        ready = lines[-1].startswith("ready: ")
    text = ROOT / "logs" / "doctor.txt"
    try:
        files.write_text(text, doctor.redact("\n".join([f"portable trainer {__version__}", *lines, ""]), ROOT))
        say(f"(this text, without your name, is in {text.relative_to(ROOT)} for a bug report)")
    except UserError as error:
        say(f"(this text could not be kept in {text.relative_to(ROOT)}: {error.message})")
    return 0 if ready else 1


def _proof() -> list[str]:
    """Train a few steps for real; what was said, the verdict last."""
    from engine.training import proof

    said: list[str] = []

    def tell(text: str) -> None:
        said.append(text)
        say(text)

    try:
        tell(f"ready: {proof.run(ROOT, tell)}")
    except (UserError, RuntimeError, OSError) as error:  # what a broken card, driver or package raises
        tell(f"the proof failed: {type(error).__name__}: {error}")
    return said


COMMAND = Command(
    name="doctor",
    help="say what works on this machine, in a text for bug reports; with --run train a few steps to prove it",
    example="doctor --run",
    options=Options,
    run=run,
)
