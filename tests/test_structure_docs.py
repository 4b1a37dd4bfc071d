"""The README says what is true: its file map is the tree, its commands are the engine's, its paths exist.

`python tests/test_structure_docs.py` writes the file map anew: modules by their docstring's first sentence, other files keep their line.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAPPED = ("engine", "install", "recipes", "scripts", "benchmarks", "configs", "docs")  # folders of which every file has a line
DATA = ("engine/models/clip/",)  # folders in those with one line for all
OTHERS = ("Install.cmd", "models/", "train_data/demo/", "output/", "python_310/", "tests/", ".ci/run", "requirements.txt", "pyproject.toml")
BLOCK = re.compile(r"(## File map\n\n<!--[^\n]*-->\n```\n)(.*?)(```)", re.DOTALL)
ANEW = "run `python tests/test_structure_docs.py`, and say what new files that are not modules are for"


def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def file_map(root: Path) -> dict[str, str]:
    """Path -> what the README says of it."""
    block = BLOCK.search(readme(root))
    assert block, "the README has no file map"
    return {path: text.strip() for path, _, text in (line.partition("  ") for line in block[2].splitlines())}


def told_by(module: Path) -> str:
    """The first sentence of a module's docstring, as a line of the map."""
    text = " ".join((ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").split())
    sentence = re.split(r"\.(?=\s+[A-Z`]|$)", text)[0]
    sentence = re.sub(r"\s*\([^()]*\.md[^()]*\)", "", sentence)  # where it is specified is of no use here
    return sentence if re.match(r"\w*[A-Z]\w*[A-Z]|`|Python|Stable", sentence) else sentence[:1].lower() + sentence[1:]


def mapped(root: Path) -> list[str]:
    """Every path that the map must have, in its order: files of the mapped folders, then the other folders and files."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *MAPPED]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8", check=True).stdout.split("\0")
    names = {path for path in listed if path and (root / path).is_file() and not path.endswith("__init__.py")}
    names = {path for path in names if not path.startswith(DATA)} | {
        folder for folder in DATA if any(path.startswith(folder) for path in names)
    }
    ordered = sorted(names, key=lambda path: (MAPPED.index(path.split("/")[0]), path.count("/") > 1, path))
    return [*ordered, *OTHERS]


def test_the_file_map_is_the_tree(root: Path) -> None:
    if not (root / ".git").exists():
        pytest.skip("not a clone")
    listed = file_map(root)
    assert (sorted(set(mapped(root)) - listed.keys()), sorted(listed.keys() - set(mapped(root)))) == ([], []), ANEW
    assert [path for path, text in listed.items() if not text] == []
    stale = [path for path, text in listed.items() if path.endswith(".py") and text != told_by(root / path)]
    assert stale == [], ANEW


def test_the_readme_names_every_command_and_no_other(root: Path) -> None:
    from engine import __main__ as main

    table = readme(root).partition("## Commands")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [command.name for command in main.COMMANDS]
    used = set(re.findall(r"python -m engine (\w+)", readme(root)))
    assert used <= {command.name for command in main.COMMANDS}


def test_the_readmes_training_command_is_understood(root: Path) -> None:
    command = re.search(r"bash scripts/train\.sh (--config .*?)\n   ```", readme(root), re.DOTALL)
    assert command
    flags = shlex.split(command[1].replace("\\\n", " "))
    answer = subprocess.run(
        [sys.executable, "-m", "engine", "config", *flags], cwd=root, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "THIRD_PARTY_NOTICES.md", "docs/decisions.md"])
def test_paths_in_the_documents_exist(root: Path, document: str) -> None:
    text = (root / document).read_text(encoding="utf-8")
    ours = re.findall(r"`?\b((?:engine|scripts|configs|recipes|tests|docs|train_data/demo|benchmarks)/[\w./-]*\w)(?![\w*<])", text)
    assert sorted({path for path in ours if "<" not in path and not (root / path).exists()}) == []


def test_the_chinese_sections_say_the_same(root: Path) -> None:
    """Same commands, same lines, in both scripts."""
    traditional, simplified = readme(root).partition("\n## 繁體中文")[2].partition("\n## 简体中文")[::2]
    assert re.findall(r"`([^`]+)`", traditional.replace("重複次數", "").replace("觸發詞", "").replace("類別", "")) == re.findall(
        r"`([^`]+)`", simplified.replace("重复次数", "").replace("触发词", "").replace("类别", "")
    )


def test_contributing_is_one_page(root: Path) -> None:
    assert len((root / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 66


def write_file_map(root: Path) -> None:
    """Write the map anew, keeping the lines of what has no docstring."""
    known = file_map(root)
    lines = {path: told_by(root / path) if path.endswith(".py") else known.get(path, "") for path in mapped(root)}
    width = max(map(len, lines))
    block = "".join(f"{path:<{width}}  {text}".rstrip() + "\n" for path, text in lines.items())
    text = BLOCK.sub(lambda found: found[1] + block + found[3], readme(root))
    (root / "README.md").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write_file_map(ROOT)
    sys.stdout.write("".join(f"{path} has no line yet\n" for path, text in file_map(ROOT).items() if not text))
