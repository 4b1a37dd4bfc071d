"""Running Windows programs in the rig from a test, and killing them as a power cut would."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class Rig:
    """The rig in `folder`, through `winrun`."""

    def __init__(self, winrun: Path, folder: Path) -> None:
        self.folder = folder
        self._winrun = winrun

    def run(self, *words: str, cwd: Path, timeout: float = 300, **variables: str) -> tuple[int, str]:
        """Run a program to its end: its exit status and its output."""
        child = self.start(*words, cwd=cwd, timeout=timeout, **variables)
        out, _ = child.communicate(timeout=timeout + 30)
        return child.returncode, out.replace("\r\n", "\n")

    def start(self, *words: str, cwd: Path, timeout: float = 300, **variables: str) -> subprocess.Popen[str]:
        """Start a program."""
        host = {name: os.environ[name] for name in ("PATH", "HOME", "RIG", "TMPDIR", "USER") if name in os.environ}
        environment = {**host, "WINRUN_S": str(timeout), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "NO_PROXY": "127.0.0.1", **variables}
        return subprocess.Popen(
            ["bash", self._winrun, *words], cwd=cwd, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip

    def clicked(self, script: Path, words: str = "") -> tuple[tuple[str, ...], dict[str, str]]:
        """The words and variables that start a batch file as Explorer does on a double click, or as `cmd` does with `words` after it."""
        line = f'cmd.exe /c ""{self.path(script)}" {words}"'
        return (str(self.folder / "build/exactly.exe"),), {"EXACTLY": line}

    def kill(self) -> None:
        """End everything in the rig at once, unasked."""
        environment = {**os.environ, "WINEPREFIX": str(self.folder / "prefix")}
        subprocess.run(["wineserver", "-k"], env=environment, check=False, capture_output=True)
        subprocess.run(["wineserver", "-w"], env=environment, check=False, capture_output=True)

    @property
    def python_zip(self) -> Path:
        """The embeddable Python."""
        return self.folder / "python-3.10.11-embed-amd64.zip"

    @staticmethod
    def path(path: Path) -> str:
        """A path of this machine as Windows programs see it."""
        return "Z:" + str(path).replace("/", "\\")
