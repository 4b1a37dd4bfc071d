"""A stand-in for PowerShell, to try `test_with_powershell.py`: `-File SCRIPT ARGS` by the evaluator, then what hand_over.ps1 does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import evaluator  # noqa: E402 the folder above must be on the path first

HOSTS = ("PYTHON", "CONDA", "VIRTUAL_ENV")


def main(words: list[str]) -> int:
    """Run a front script; its exit status."""
    script, *arguments = words[words.index("-File") + 1 :]
    path = Path(script)
    try:
        text = evaluator.hand_over(path, arguments, edition="Core")
    except (evaluator.Mistake, evaluator.Unreadable) as error:
        sys.stderr.write(f"{error!r}\n")
        return 1
    root = path.parent.parent
    python = root / ".venv/bin/python"
    if not python.is_file():
        sys.stdout.write("hint: run bash scripts/setup.sh first\n")
        return 1
    environment = {name: value for name, value in os.environ.items() if not name.startswith(HOSTS)}
    environment.update(ENGINE_HANDOVER=text, PYTHONNOUSERSITE="1", PYTHONUTF8="1")
    command = [str(python), "-s", "-X", "utf8", "-m", "engine", json.loads(text)["command"]]
    return subprocess.run(command, cwd=root, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
