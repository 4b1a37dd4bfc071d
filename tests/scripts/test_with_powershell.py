"""The front scripts in a real PowerShell, with a stand-in for the engine. Needs Python and a `pwsh` or `powershell` on the PATH, no more:

python -m unittest tests/scripts/test_with_powershell.py
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent.parent / "scripts"
VECTORS = json.loads((HERE / "vectors.json").read_text(encoding="utf-8"))
SHELLS = [shell for shell in map(shutil.which, ("pwsh", "powershell")) if shell]
WINDOWS = sys.platform == "win32"
MARK = b"\xef\xbb\xbf"
ODD = "工具 my lora [1] & it's 100% (2)!^"
CALL = '. "$PSScriptRoot\\lib\\hand_over.ps1"\nInvoke-Engine -Script $PSCommandPath -Command train -More $args\n'

# What `python -m engine` is here: it writes down how it was called.
STAND_IN = """
import json, os, sys
kept = {name: value for name, value in os.environ.items() if name.upper().startswith(("PYTHON", "CONDA", "VIRTUAL_ENV", "PIP_"))}
record = {"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": kept, "flags": [sys.flags.no_user_site, sys.flags.utf8_mode]}
record["handed_over"] = json.loads(os.environ["ENGINE_HANDOVER"])
with open("record.json", "w", encoding="utf-8") as file:
    json.dump(record, file)
print("初音 ミク")
print("on standard error", file=sys.stderr)
sys.exit(int(open("status.txt").read()))
"""


class Bench:
    """A copy of the scripts in an awkward folder, with a Python in its place and the stand-in as its engine."""

    def __init__(self, place: Path) -> None:
        self.root = place / ODD.replace("%", "" if WINDOWS else "%")
        shutil.copytree(FOLDER, self.root / "scripts")
        engine = self.root / "engine"
        engine.mkdir()
        (engine / "__main__.py").write_text(STAND_IN, encoding="utf-8")
        (engine / "__init__.py").touch()
        self._make_python(place)

    def _make_python(self, place: Path) -> None:
        if not WINDOWS:
            python = self.root / ".venv/bin/python"
            python.parent.mkdir(parents=True)
            python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
            python.chmod(0o755)
            return
        made = place / "environment"
        venv.create(made, with_pip=False)
        (self.root / "python_310").mkdir()
        shutil.copy(made / "Scripts/python.exe", self.root / "python_310")
        shutil.copy(made / "pyvenv.cfg", self.root / "python_310")

    def write(self, name: str, text: str) -> Path:
        """A front script of these lines, saved as ours are."""
        path = self.root / "scripts" / name
        path.write_bytes(MARK + text.replace("\n", "\r\n").encode("utf-8"))
        return path

    def run(self, command: list[str], status: int = 0, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        (self.root / "record.json").unlink(missing_ok=True)
        (self.root / "status.txt").write_text(str(status), encoding="utf-8")
        return subprocess.run(
            command, cwd=folder or self.root.parent, env={**os.environ, "ENGINE_NO_PAUSE": "1", **environment}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, encoding="utf-8", errors="replace", check=False, timeout=120,
        )  # fmt: skip

    def record(self) -> dict[str, Any] | None:
        """What the stand-in wrote down; None where it was not reached."""
        path = self.root / "record.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def handed_over(self) -> dict[str, Any]:
        """What reached the stand-in."""
        record = self.record()
        assert record is not None, "the engine was not reached"
        handed: dict[str, Any] = record["handed_over"]
        return handed

    def variables(self) -> dict[str, Any]:
        """The variables that reached the stand-in, without PowerShell's own."""
        return {name: value for name, value in self.handed_over()["variables"].items() if name != "ErrorActionPreference"}


def shell_command(shell: str, script: Path, *arguments: str) -> list[str]:
    return [shell, "-NoLogo", "-NoProfile", "-ExecutionPolicy", "Bypass", "-File", str(script), *arguments]


@unittest.skipUnless(SHELLS, "there is no PowerShell on the PATH")
class TheScripts(unittest.TestCase):
    bench: Bench
    _place: tempfile.TemporaryDirectory[str]

    @classmethod
    def setUpClass(cls) -> None:
        cls._place = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        cls.bench = Bench(Path(cls._place.name))

    @classmethod
    def tearDownClass(cls) -> None:
        cls._place.cleanup()

    def in_each_shell(self, name: str, script: Path, *arguments: str, **settings: Any) -> list[subprocess.CompletedProcess[str]]:
        found = []
        for shell in SHELLS:
            with self.subTest(name, shell=shell):
                found.append(self.bench.run(shell_command(shell, script, *arguments), **settings))
        return found

    def test_values(self) -> None:
        for vector in VECTORS["values"]:
            script = self.bench.write("values.ps1", f'$ErrorActionPreference = "Stop"\n{vector["script"]}\n{CALL}')
            for shell in SHELLS:
                with self.subTest(vector["case"], shell=shell):
                    answer = self.bench.run(shell_command(shell, script))
                    self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
                    self.assertEqual(self.bench.variables(), vector["variables"])

    def test_mistakes(self) -> None:
        for vector in VECTORS["mistakes"]:
            script = self.bench.write("mistakes.ps1", f'$ErrorActionPreference = "Stop"\n{vector["script"]}\n{CALL}')
            for shell in SHELLS:
                with self.subTest(vector["case"], shell=shell):
                    answer = self.bench.run(shell_command(shell, script))
                    self.assertEqual(answer.returncode, vector["with_stop"]["exit"], answer.stdout + answer.stderr)
                    reached = self.bench.variables() if self.bench.record() else None
                    self.assertEqual(reached, vector["with_stop"]["variables"])

    def test_every_script_as_it_is(self) -> None:
        for path in sorted((self.bench.root / "scripts").glob("[c-t]*.ps1")):
            if not (FOLDER / path.name).exists():
                continue
            text = path.read_bytes().decode("utf-8-sig")
            names = re.findall(r"(?m)^\$(\w+) = ", text)
            (command,) = re.findall(r"(?m)^Invoke-Engine .* -Command (\w+) ", text)
            for answer in self.in_each_shell(path.stem, path):
                self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
                self.assertIn("初音 ミク", answer.stdout)
                record = self.bench.record()
                assert record is not None
                self.assertEqual(record["arguments"], [command])
                self.assertEqual(Path(record["folder"]), self.bench.root)
                self.assertEqual(record["flags"], [1, 1])
                handed = record["handed_over"]
                self.assertEqual((Path(handed["script"]), handed["command"], handed["arguments"]), (path, command, []))
                self.assertEqual(list(handed["variables"]), names)

    def test_the_status_is_the_engines(self) -> None:
        for status in (0, 1, 3, 130):
            for answer in self.in_each_shell(str(status), self.bench.root / "scripts/train.ps1", status=status):
                self.assertEqual(answer.returncode, status, answer.stdout + answer.stderr)

    def test_arguments(self) -> None:
        given = [
            "--output_name",
            "a b",
            "--train_data_dir",
            "D:\\圖 片\\",
            "--caption_prefix",
            'it\'s "so"',
            "--vae",
            "",
            "--x=[1] & 100%*",
        ]
        if WINDOWS:
            given[5] = "it's so"  # quotes inside arguments are lost between Windows programs, which is why variables go another way
        for _ in self.in_each_shell("arguments", self.bench.root / "scripts/train.ps1", *given):
            self.assertEqual(self.bench.handed_over()["arguments"], given)

    def test_values_that_are_hard_to_carry(self) -> None:
        values = {
            "a": "D:\\工具\\it's [x] & (1)!^%\\",
            "b": '"',
            "c": ["one"],
            "d": [],
            "e": [["x", "z"], ["y", 1]],
            "f": {"k": [True, None, 0.5]},
        }
        lines = ["$a = 'D:\\工具\\it''s [x] & (1)!^%\\'", "$b = '\"'", '$c = @("one")', "$d = @()", '$e = @(@("x", "z"), @("y", 1))']
        lines += ["$f = @{ k = @($true, $null, 0.5) }", '[int] $g = "5"', "$script:h = 1", "function Other { $inner = 1 }"]
        script = self.bench.write("hard.ps1", "\n".join(lines) + "\n" + CALL)
        for _ in self.in_each_shell("hard", script):
            self.assertEqual(self.bench.variables(), {**values, "g": 5, "h": 1})

    def test_the_hosts_settings_stay_outside_and_come_back(self) -> None:
        host = {"PYTHONPATH": "/elsewhere", "PYTHONHOME": "/elsewhere", "CONDA_PREFIX": "/elsewhere", "VIRTUAL_ENV": "/elsewhere"}
        script = self.bench.root / "scripts/train.ps1"
        quoted = str(script).replace("'", "''")
        for shell in SHELLS:
            with self.subTest(shell=shell):
                told = f"& '{quoted}'; \"$env:PYTHONPATH|$env:VIRTUAL_ENV|$env:ENGINE_HANDOVER|$((Get-Location).Path)\""
                answer = self.bench.run([shell, "-NoProfile", "-ExecutionPolicy", "Bypass", "-Command", told], **host)
                record = self.bench.record()
                assert record is not None, answer.stderr
                self.assertEqual(record["environment"], {"PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1"})
                self.assertIn("/elsewhere|/elsewhere||", answer.stdout)
                self.assertTrue(os.path.samefile(answer.stdout.strip().rpartition("|")[2], self.bench.root.parent), answer.stdout)

    def test_without_python(self) -> None:
        python = self.bench.root / ("python_310" if WINDOWS else ".venv")
        aside = python.with_name("aside")
        python.rename(aside)
        try:
            for answer in self.in_each_shell("without", self.bench.root / "scripts/train.ps1"):
                self.assertEqual(answer.returncode, 1)
                self.assertIn("Install.cmd" if WINDOWS else "scripts/setup.sh", answer.stdout)
        finally:
            aside.rename(python)

    @unittest.skipUnless(WINDOWS, "cmd.exe is Windows'")
    def test_twins(self) -> None:
        for path in sorted((self.bench.root / "scripts").glob("*.cmd")):
            with self.subTest(path.name):
                answer = self.bench.run(["cmd", "/c", str(path), "--seed", "1"], status=7)
                self.assertEqual(answer.returncode, 7, answer.stdout + answer.stderr)
                self.assertEqual(self.bench.handed_over()["arguments"], ["--seed", "1"])


if __name__ == "__main__":
    unittest.main()
