"""The documents say what is true: the file map is the tree, commands are the engine's, paths exist, what is missing is told.

`python tests/test_structure_docs.py` writes docs/map.md anew. Python files and rooms are told by their docstring's first sentence, other
files keep their line. It also writes the tables of commands, from the fields that the commands are read by.
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
PARTED = ("engine", "recipes")  # whose folders are rooms of their own
DATA = ("engine/models/clip/",)  # folders in those with one line for all
OTHERS = ("Install.cmd", "models/", "train_data/demo/", "output/", "python_310/", "tests/", ".ci/run", "requirements.txt", "pyproject.toml")
BESIDE = "Beside them"  # the section of OTHERS
WIDTH = 90
ROOM = re.compile(r"^## (.+)\n\n(.*)\n\n```\n((?:.+\n)*)```$", re.MULTILINE)
TABLES = {  # document -> what stands before its table of commands, and the table
    "README.md": re.compile(r"(\n\| command \| what it does \| on Linux \| on Windows \|\n\|(?:---\|)+\n)((?:\|.*\n)*)"),
    "docs/windows.md": re.compile(r"(\n\| `scripts\\demo\.cmd` \|.*\n)((?:\|.*\n)*)"),
}
ANEW = "run `python tests/test_structure_docs.py`, and say what new files that are not modules are for"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "THIRD_PARTY_NOTICES.md", *sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))  # fmt: skip


def text_of(root: Path, document: str = "README.md") -> str:
    return (root / document).read_text(encoding="utf-8")


def rooms(root: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """What docs/map.md says: room -> (its sentence, path -> what the file is)."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for room, sentence, block in ROOM.findall(text_of(root, "docs/map.md")):
        lines = (line.partition("  ") for line in block.splitlines())
        found[room] = (sentence, {(name if room == BESIDE else f"{room}/{name}"): text.strip() for name, _, text in lines})
    return found


def first_sentence(module: Path) -> str:
    """That of a module's docstring, without its full stop."""
    text = " ".join((ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").split())
    text = re.sub(r"\bpython -m (?=engine|recipes|benchmarks)", ".venv/bin/python -m ", text)  # as documents write it
    return re.split(r"\.(?=\s+[A-Z`]|$)", text)[0]


def told_by(module: Path) -> str:
    """The first sentence of a module, as a line of the map."""
    sentence = first_sentence(module)
    return sentence if re.match(r"\w*[A-Z]\w*[A-Z]|`|Python|Stable", sentence) else sentence[:1].lower() + sentence[1:]


def room_of(path: str) -> str:
    """The section of the map in which a path stands."""
    if path in OTHERS:
        return BESIDE
    folders = path.strip("/").split("/")[:-1]
    return "/".join(folders[: 2 if folders[0] in PARTED else 1])


def mapped(root: Path) -> list[str]:
    """Every path that the map must have, in its order: files of the mapped folders, then the other folders and files."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *MAPPED]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8", check=True).stdout.split("\0")
    names = {path for path in listed if path and (root / path).is_file() and not path.endswith("__init__.py")}
    names = {path for path in names if not path.startswith(DATA)} | {
        folder for folder in DATA if any(path.startswith(folder) for path in names)
    }
    ordered = sorted(names, key=lambda path: (MAPPED.index(path.split("/")[0]), room_of(path), path.count("/"), path))
    return [*ordered, *OTHERS]


def test_the_file_map_is_the_tree(root: Path) -> None:
    if not (root / ".git").exists():
        pytest.skip("not a clone")
    told = rooms(root)
    listed = [path for _, files in told.values() for path in files]
    assert (sorted(set(mapped(root)) - set(listed)), sorted(set(listed) - set(mapped(root)))) == ([], []), ANEW
    assert listed == mapped(root), f"in another order: {ANEW}"
    assert [path for _, files in told.values() for path, text in files.items() if not text] == []
    stale = [path for _, files in told.values() for path, text in files.items() if path.endswith(".py") and text != told_by(root / path)]
    packages = {room: root / room / "__init__.py" for room in told}
    stale += [room for room, package in packages.items() if package.is_file() and told[room][0] != f"{first_sentence(package)}."]
    assert stale == [], ANEW


def test_a_line_of_the_file_map_is_short(root: Path) -> None:
    block = "\n".join(lines for _, _, lines in ROOM.findall(text_of(root, "docs/map.md")))
    assert len(block.splitlines()) > 150
    assert [line for line in block.splitlines() if len(line) > WIDTH] == [], "shorten the first sentence of the file's docstring"


def table(root: Path, document: str) -> str:
    """What the commands' own fields say, as the rows of a document's table."""
    from engine.__main__ import COMMANDS
    from engine.commands import help

    rows = []
    for command in COMMANDS:
        path = f" {help.path(command)}".rstrip()
        twin = (root / f"scripts/{command.name}.cmd").is_file()
        windows = rf"scripts\{command.name}.cmd{path}" if twin else rf"python_310\python.exe -m engine {command.name}{path}"
        cells = [f"`{command.name}`", command.help, f"`.venv/bin/python -m engine {command.name}{path}`", f"`{windows}`"]
        rows.append(f"| {' | '.join(cells if document == 'README.md' else (cells[3], cells[1]))} |\n")
    return "".join(rows)


@pytest.mark.parametrize("document", TABLES)
def test_a_table_of_commands_is_what_the_commands_say(root: Path, document: str) -> None:
    found = TABLES[document].search((root / document).read_text(encoding="utf-8"))
    assert found and found[2] == table(root, document), "run `python tests/test_structure_docs.py`"


def test_the_readmes_training_command_is_understood(root: Path) -> None:
    command = re.search(r"bash scripts/train\.sh (--config .*?)\n   ```", text_of(root), re.DOTALL)
    assert command
    flags = shlex.split(command[1].replace("\\\n", " "))
    answer = subprocess.run(
        [sys.executable, "-m", "engine", "config", *flags], cwd=root, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_in_the_documents_exist(root: Path, document: str) -> None:
    text = text_of(root, document)
    ours = re.findall(r"`?\b((?:engine|scripts|configs|recipes|tests|docs|train_data/demo|benchmarks)/[\w./-]*\w)(?![\w*<])", text)
    assert sorted({path for path in ours if "<" not in path and not (root / path).exists()}) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_in_the_documents_lead_somewhere(root: Path, document: str) -> None:
    """Links to files, and to headings as git hosts name them."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(root, document)):
        path, _, heading = target.partition("#")
        if "://" in path:
            continue
        file = (root / document).parent / path if path else root / document
        if not file.exists() or (heading and heading not in headings(file.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


def headings(text: str) -> set[str]:
    """The marks that a page's headings get: small letters, dashes for spaces, nothing else but letters and digits."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_chinese_sections_say_the_same(root: Path) -> None:
    """Same commands, same lines, in both scripts."""
    traditional, simplified = (text_of(root).partition(f"\n## {name}")[2].partition("\n## ")[0] for name in ("繁體中文", "简体中文"))
    essentials = ("Install.cmd", "demo.cmd", "train.sh", "<name>.safetensors", "<lora:name:1>", "sample", "reference.toml", "doctor")
    assert [word for word in essentials if word not in traditional] == []
    assert len(traditional.splitlines()) == len(simplified.splitlines())
    assert re.findall(r"`([^`]+)`", traditional.replace("重複次數", "").replace("觸發詞", "").replace("類別", "")) == re.findall(
        r"`([^`]+)`", simplified.replace("重复次数", "").replace("触发词", "").replace("类别", "")
    )


def column(text: str, number: int) -> list[str]:
    """What stands in backquotes in that column of all tables of a text."""
    rows = (re.split(r" ?\| ?", line) for line in text.splitlines() if line.startswith("| "))
    return [name for cells in rows for name in re.findall(r"`([^`]+)`", cells[number])]


def test_the_roadmap_says_of_every_script_of_sd_scripts_what_the_refusal_says(root: Path) -> None:
    from engine.config import sd_scripts

    table = text_of(root, "docs/roadmap.md").partition("\n## sd-scripts' own scripts")[2].partition("\n## ")[0]
    expected = [f"| {' '.join(f'`{name}`' for name in row.names)} | {row.here} |" for row in sd_scripts.SCRIPTS]
    assert [line for line in table.splitlines() if line.startswith("| `")] == expected
    names = [name for row in sd_scripts.SCRIPTS for name in row.names]
    assert len(names) == len(set(names)) > 60 and set(sd_scripts.LORA) <= set(names)


def test_the_roadmap_tells_what_is_not_yet_and_nothing_else(root: Path) -> None:
    """Options that belong to another one have no line of their own."""
    from engine.config import options, variables

    rows = (*options.RUN_OPTIONS, *options.DATASET_OPTIONS, *options.NETWORK_ARGS)
    missing = {row.name for row in rows if row.state == options.NOT_YET and not row.only_with}
    missing |= {name for names in options.VALUES_NOT_YET.values() for name in names.split()}
    missing |= {f"{name}={word}" for name, words in options.ARG_VALUES_NOT_YET.items() for word in words.split()}
    known = {row.name for row in variables.VARIABLES if row.state == options.NOT_YET and not row.switch} - missing
    told = column(text_of(root, "docs/roadmap.md").partition("\n## sd-scripts' own scripts")[0], 2)
    assert len(missing) > 100 and len(known) >= 4
    assert sorted(told) == sorted(missing | {f"${name}" for name in known})


def test_the_readme_is_a_first_page(root: Path) -> None:
    """Short, and what a user needs comes first: nothing of the sources or of licences stands before the Chinese sections."""
    assert (root / "README.md").stat().st_size <= 17_000
    titles = re.findall(r"^## (.+)$", text_of(root), re.MULTILINE)
    assert titles[0] == "Start"
    assert titles[-4:] == ["繁體中文", "简体中文", "The sources", "Licence"]


def test_contributing_is_one_page(root: Path) -> None:
    assert len((root / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 75


def write_tables(root: Path) -> None:
    """Write the tables of commands anew."""
    for document, rows in TABLES.items():
        text = (root / document).read_text(encoding="utf-8")
        text = rows.sub(lambda found: found[1] + table(root, document), text)  # noqa: B023 called at once
        (root / document).write_text(text, encoding="utf-8", newline="\n")


def write_file_map(root: Path) -> None:
    """Write the map anew, keeping the lines of what has no docstring."""
    known = rooms(root)
    kept = {path: text for _, files in known.values() for path, text in files.items()}
    lines: dict[str, dict[str, str]] = {}
    for path in mapped(root):
        name = path if room_of(path) == BESIDE else path.removeprefix(f"{room_of(path)}/")
        lines.setdefault(room_of(path), {})[name] = told_by(root / path) if path.endswith(".py") else kept.get(path, "")
    parts = [text_of(root, "docs/map.md").partition("\n## ")[0].rstrip()]
    for room, files in lines.items():
        package = root / room / "__init__.py"
        sentence = f"{first_sentence(package)}." if package.is_file() else known.get(room, ("What is here?", {}))[0]
        width = max(len(name) for name in files if len(name) < 25)  # a wheel's name is longer, and stands out
        block = "".join(f"{name:<{width}}  {text}".rstrip() + "\n" for name, text in files.items())
        parts.append(f"## {room}\n\n{sentence}\n\n```\n{block}```")
    (root / "docs/map.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    write_file_map(ROOT)
    write_tables(ROOT)
    sys.stdout.write("".join(f"{path} has no line yet\n" for _, files in rooms(ROOT).values() for path, text in files.items() if not text))
