"""What no file of the product may hold, and the encodings that Windows insists on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

# Spelled in two parts, so that this file passes its own test.
FORBIDDEN = {
    "a path of a developer's machine": [
        "/wo" + "rk/",
        "/fa" + "rm/",
        "/ro" + "ot/",
        "/home/[a-z]+/" + "projects",
        r"\.pyenv/versions/\d",
        "bash_" + "jobs",
    ],
    "a package registry's host": [
        "pypi" + r"\.org",
        "python" + r"hosted\.org",
        "registry" + r"\.npmjs",
        "deb" + r"\.debian\.org",
        "crates" + r"\.io",
    ],
    "a trace of unfinished work": [r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bX" + r"XX\b"],
}
MODELS = {"models/micro/micro-sd.safetensors", "models/micro/micro-sdxl.safetensors"}
MEBIBYTES = 2


def product_files(root: Path) -> list[Path]:
    """What git tracks or would track; in an unpacked bundle without git, the product's own folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if listed.returncode == 0:
        return sorted(root / name for name in listed.stdout.split("\0") if name and (root / name).is_file())
    folders = ("engine", "recipes", "scripts", "tests", "docs", "configs", "benchmarks")
    return sorted(path for folder in folders for path in (root / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def texts(root: Path) -> list[tuple[str, str]]:
    """(name, text) of every file that is text."""
    found = []
    for path in product_files(root):
        data = path.read_bytes()
        if b"\0" not in data:
            found.append((path.relative_to(root).as_posix(), data.decode("utf-8")))
    return found


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_nothing_forbidden_is_written_anywhere(root: Path, kind: str) -> None:
    pattern = re.compile("|".join(FORBIDDEN[kind]))
    found = [
        f"{name}:{text[: match.start()].count(chr(10)) + 1}: {match.group()}"
        for name, text in texts(root)
        for match in pattern.finditer(text)
    ]
    assert not found, f"{kind}:\n" + "\n".join(found)


def test_files_are_small(root: Path) -> None:
    large = {
        path.relative_to(root).as_posix(): path.stat().st_size for path in product_files(root) if path.stat().st_size > MEBIBYTES << 20
    }
    assert large.keys() <= MODELS, f"over {MEBIBYTES} MiB: {large}"


def test_windows_scripts_have_their_encodings(root: Path) -> None:
    wrong = []
    for path in product_files(root):
        data, name = path.read_bytes(), path.relative_to(root).as_posix()
        if path.suffix in (".ps1", ".psm1", ".cmd", ".bat"):
            if re.search(rb"(?<!\r)\n", data):
                wrong.append(f"{name}: a line without CRLF")
            if path.suffix in (".ps1", ".psm1") and not data.startswith(b"\xef\xbb\xbf"):
                wrong.append(f"{name}: no UTF-8 BOM, without which PowerShell 5.1 misreads what is not ASCII")
            if path.suffix in (".cmd", ".bat") and not data.isascii():
                wrong.append(f"{name}: not ASCII")
        elif b"\0" not in data and b"\r\n" in data:
            wrong.append(f"{name}: CRLF line ends")
    assert not wrong, "\n".join(wrong)


def test_shell_scripts_are_sound(root: Path) -> None:
    for path in [*sorted((root / "scripts").glob("*.sh")), root / ".ci/run"]:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("#!/usr/bin/env bash\n") and "\nset -euo pipefail\n" in text, path.name
        subprocess.run(["bash", "-n", str(path)], check=True)
