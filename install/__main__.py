"""`python -m install`: the steps of the installation, in their order.

Install.cmd calls it with the settings at its top. Each step is checked first, and skipped where it is right.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import doctor, downloads, environment, fetch, files, locks, optional
from engine.awake import kept_awake
from engine.errors import UserError
from engine.locks import Pin
from install import packages, records, shipped, torch_build
from install.log import Log
from install.packages import Pip, Source

ROOT = Path(__file__).resolve().parent.parent
NEEDED = 10 << 30  # bytes: torch's wheel twice, unpacked, and room to work
_DISK_FULL = 112  # Windows' own number for it
_AGAIN = "run Install.cmd again; if it stays the same, put logs\\install.log into a bug report"


@dataclass(frozen=True)
class Options:
    """The settings at the top of Install.cmd."""

    torch: str = "auto"
    proxy: str = ""
    pip_mirror: str = ""
    torch_mirror: str = ""


class Setup:
    """One installation: the folder, where its Python keeps packages, and how to talk to pip and to the user."""

    def __init__(self, root: Path, site: Path, options: Options, log: Log) -> None:
        self.root = root
        self.site = site
        self.options = options
        self.log = log
        if options.proxy:
            os.environ.update(http_proxy=options.proxy, https_proxy=options.proxy)
        self.environment = environment.private(root, os.environ, windows=sys.platform == "win32")
        self.downloads = root / "cache" / "downloads"
        self.wheels = root / "wheels"
        source = Source(self.wheels, options.pip_mirror, options.proxy, root / "cache" / "pip")
        self.pip = Pip(root, self.environment, source, log)

    def run(self) -> None:
        """All steps. Raises UserError with the one thing to do next."""
        say = self.log.say
        say("[2/6] the folder")
        require_place(self.root, 0)
        self.update()
        self.require_pip()
        cards = doctor.nvidia_cards()
        choice = torch_build.choose(self.options.torch, cards, doctor.nvidia_driver(), doctor.windows_adapters())
        say(f"      torch for {choice.build}: {choice.why}")
        torch = self.torch_pin(choice.build)
        records.remove_remains(self.site)
        wrong_torch = packages.wanting([torch], self.site)
        wrong = packages.wanting(locks.read(self.root / locks.LOCK), self.site)
        require_place(self.root, NEEDED if wrong_torch else 0)
        say("[3/6] the packages")
        self.packages(wrong)
        say(f"[4/6] torch {torch.version}")
        if wrong_torch:
            self.torch(choice.build, torch)
        else:
            say("      is installed")
        records.tidy(self.site)
        self.pip.check()
        say("[5/6] what is optional")
        extra = self.optional(choice.build)
        say("[6/6] the proof: a few real training steps")
        self.proof(extra)
        for name in ("downloads", "pip", "tmp"):
            shutil.rmtree(self.root / "cache" / name, ignore_errors=True)

    def update(self) -> None:
        """Front scripts, and what an earlier version left."""
        changes = shipped.update(self.root)
        if changes is None:
            self.log.say("      a clone: nothing to put in place")
            return
        for name in changes.placed:
            self.log.say(f"      scripts\\{name} was put in place")
        for name, new in changes.kept.items():
            told = f"; the new one also has ${', $'.join(new)}" if new else ""
            self.log.say(f"      scripts\\{name} is yours and stays{told} (scripts\\shipped\\{name})")
        if changes.removed:
            self.log.say(f"      {len(changes.removed)} files of an earlier version were removed")
            self.log.note("\n".join(changes.removed))
        for name in changes.left:
            self.log.say(f"      {name} is not part of this version; it was edited, so it stays")

    def require_pip(self) -> None:
        """pip is part of this folder (python310._pth names it); refuse another than the table's."""
        row = downloads.read(self.root)["pip"]
        path = self.root / "install" / row.file
        if not path.is_file():
            raise UserError("the folder is incomplete: pip is missing", "unpack it again", where=f"install\\{row.file}")
        downloads.vouch(row, files.sha256(path))

    def torch_pin(self, build: str) -> Pin:
        """Which torch must be installed."""
        (pin,) = locks.read(self.root / locks.CPU_LOCK)
        return pin if build == "cpu" else Pin("torch", f"{pin.version}+{build}")

    def packages(self, wrong: Sequence[tuple[Pin, str]]) -> None:
        """Everything but torch."""
        if not wrong:
            self.log.say("      are installed")
            return
        for pin, fault in wrong:
            self.log.note(f"{pin.name} {pin.version}: {fault}")
        self.log.say(f"      installing {len(wrong)} packages; this takes a few minutes")
        self.pip.install([pin for pin, _ in wrong])

    def torch(self, build: str, pin: Pin) -> None:
        """torch: from wheels/, else downloaded with resume; its licence texts gathered, then installed as a local file."""
        wheel = self.cpu_wheel(pin) if build == "cpu" else self.cuda_wheel(build)
        short = self.downloads / "short" / wheel.name.replace("%2B", "+")
        records.gather_licences(wheel, short)
        self.log.say("      installing it; this takes a few minutes")
        self.pip.install_file(short)

    def cpu_wheel(self, pin: Pin) -> Path:
        """torch for the CPU comes from pip's index, with the lock's hash."""
        self.pip.download([pin], self.downloads)
        found = locks.find_wheel(self.downloads, pin)
        if found is None:
            raise UserError("pip reports success, but torch's file is not there", _AGAIN)
        return found

    def cuda_wheel(self, build: str) -> Path:
        """torch for a card comes from the table of downloads, or from wheels/ where it lies there."""
        row = downloads.read(self.root)[f"torch-{build}"]
        for name in (row.file, row.file.replace("+", "%2B")):
            own = self.wheels / name
            if own.is_file():
                self.log.say(f"      wheels\\{name}: {downloads.vouch(row, files.sha256(own))}")
                return own
        mirror = self.options.torch_mirror
        if not (self.downloads / row.file).is_file():
            self.log.say(f"      downloading {row.address(mirror)}")
        path, vouched = downloads.get(row, self.downloads, mirror, fetch.Shown(self.log.say, "      "))
        self.log.say(f"      {vouched}")
        return path

    def optional(self, build: str) -> list[Pin]:
        """What helps on a card, if it can be had; the pins that are installed now."""
        if build == "cpu":
            self.log.say("      nothing without an NVIDIA card")
            return []
        pins = locks.read(self.root / locks.OPTIONAL_LOCK)
        for pin, _ in packages.wanting(pins, self.site):
            self.try_to_install(pin)
        records.tidy(self.site)
        lacking = {pin.name for pin, _ in packages.wanting(pins, self.site)}
        return [pin for pin in pins if pin.name not in lacking]

    def try_to_install(self, pin: Pin) -> None:
        """Install a package that nothing depends on, or say that it is left out."""
        try:
            self.pip.install([pin])
        except UserError as error:
            self.log.say(f"      {pin.name} is left out, which is no harm: {error.message}")

    def proof(self, extra: Sequence[Pin]) -> None:
        """Run the engine's own report with its proof; where it fails because of one of the `extra` packages, remove that one."""
        passed = self.passes(())
        if not passed and extra and self.passes(extra):
            bad = next(([pin] for pin in extra if len(extra) > 1 and self.passes([pin])), extra)
            self.remove(bad)
            passed = True
        if not passed:
            raise UserError("everything is installed, but the proof failed", "the lines above say why; mend that and run Install.cmd again")

    def passes(self, without: Sequence[Pin]) -> bool:
        """Whether the proof passes, `without` these packages: they stay installed, and are not used."""
        if without:
            self.log.say(f"      once more without {', '.join(pin.name for pin in without)}")
        left_out = ",".join(optional.MODULES.get(pin.name, pin.name) for pin in without)
        command = [sys.executable, "-s", "-X", "utf8", "-m", "engine", "doctor", "--run"]
        return self.log.run(command, {**self.environment, optional.LEFT_OUT: left_out})[0] == 0

    def remove(self, pins: Sequence[Pin]) -> None:
        """Remove optional packages with which the proof fails."""
        names = {pin.name for pin in pins}
        for package in records.installed(self.site):
            if package.name in names:
                records.remove(package)
        self.log.say(f"      {', '.join(sorted(names))} removed, which is no harm: the proof fails with it and passes without")


def require_place(root: Path, needed: int) -> None:
    """Refuse a folder in which the installation cannot end well. Raises UserError."""
    if len(str(root)) > doctor.LONGEST_PATH:
        message = f"the path of this folder has {len(str(root))} characters, and {doctor.LONGEST_PATH} is the most that works"
        raise UserError(message, "move the folder to a shorter path, such as D:\\lora, and run Install.cmd there")
    free = shutil.disk_usage(root).free
    if free < needed:
        message = f"this drive has {free / 2**30:.1f} GB free, and {needed / 2**30:.0f} GB are needed"
        raise UserError(message, "free some space, or move the folder to another drive; then run Install.cmd again")


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """The command; returns the exit status: 0 when a training step really ran, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m install", description=__doc__)
    for name in ("torch", "proxy", "pip_mirror", "torch_mirror"):
        parser.add_argument(f"--{name}", default="auto" if name == "torch" else "")
    options = Options(**vars(parser.parse_args(arguments)))
    log = Log(root / "logs" / "install.log", root)
    site = Path(sys.prefix) / "Lib" / "site-packages"
    try:
        with kept_awake():  # a PC that falls asleep over a download of gigabytes seems to have stopped
            Setup(root, site, options, log).run()
    except (UserError, OSError, KeyboardInterrupt) as error:
        told = explain(error)
        log.say(f"\nnot ready: {told.where + ': ' if told.where else ''}{told.message}")
        log.say(f"next: {told.hint or _AGAIN}")
        return 1
    log.say("\nnext: double-click scripts\\demo.cmd, which trains the demo; docs\\windows.md tells the rest")
    return 0


def explain(error: UserError | OSError | KeyboardInterrupt) -> UserError:
    """Whatever ended the installation as something a person can act on."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return UserError("stopped", "run Install.cmd again: it resumes there")
    if error.errno == errno.ENOSPC or getattr(error, "winerror", 0) == _DISK_FULL:
        return UserError("the disk is full", "free 10 GB on this drive and run Install.cmd again")
    message = f"a file cannot be read or written ({error})"
    return UserError(message, "close every program that uses this folder (training, TensorBoard), then run Install.cmd again")


if __name__ == "__main__":
    sys.exit(main())
