"""requirements*.txt: exact pins, complete for every Python and system that we promise, and the same story everywhere else."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import engine
from engine import doctor

SYSTEMS = [("3.10", "linux"), ("3.11", "linux"), ("3.14", "linux"), ("3.10", "win32")]
OF_TORCH = re.compile(r"nvidia-.*|cuda-.*|triton")  # what torch's CUDA build for Linux brings; torch pins it


def lines(root: Path, name: str) -> list[str]:
    found = [line.partition("#")[0].strip() for line in (root / name).read_text(encoding="utf-8").splitlines()]
    return [line for line in found if line]


def environment(python: str, system: str) -> dict[str, str]:
    windows = system == "win32"
    return {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system,
        "platform_system": "Windows" if windows else "Linux",
        "os_name": "nt" if windows else "posix",
        "platform_machine": "AMD64" if windows else "x86_64",
        "extra": "",
    }


def pinned(root: Path, files: tuple[str, ...], here: dict[str, str]) -> dict[str, Requirement]:
    """Package -> its pin, of those that the environment installs."""
    found = {}
    for name in files:
        for line in lines(root, name):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(here):
                assert requirement.name not in found, f"{requirement.name} is pinned twice"
                found[canonicalize_name(requirement.name)] = requirement
    return found


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-gpu.txt"])
def test_every_line_is_an_exact_pin(root: Path, name: str) -> None:
    for line in lines(root, name):
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; .+)?", line), f"{name}: {line}"


@pytest.mark.parametrize(("python", "system"), SYSTEMS)
def test_the_pins_are_complete_and_agree(root: Path, python: str, system: str) -> None:
    here = environment(python, system)
    wanted = pinned(root, ("requirements.txt", "requirements-dev.txt"), here)
    for package, pin in wanted.items():
        if not _installed_as_pinned(package, pin):  # another system's package, or an environment that was not made from these files
            continue
        for need in map(Requirement, metadata.requires(package) or []):
            name = canonicalize_name(need.name)
            if OF_TORCH.fullmatch(name) or (need.marker and not need.marker.evaluate(here)):
                continue
            assert name in wanted, f"{package} needs {name}, which is not pinned for Python {python} on {system}"
            version = _version(wanted[name])
            assert need.specifier.contains(version, prereleases=True), f"{package} wants {need}, pinned is {version}"


def _version(pin: Requirement) -> str:
    return str(pin.specifier).removeprefix("==")


def _installed_as_pinned(package: str, pin: Requirement) -> bool:
    try:
        return metadata.version(package).partition("+")[0] == _version(pin)
    except metadata.PackageNotFoundError:
        return False


def test_doctor_reads_the_same_pins(root: Path) -> None:
    here = {**{name: str(value) for name, value in default_environment().items()}, "extra": ""}
    wanted = pinned(root, ("requirements.txt",), here)
    assert doctor.pins(root / "requirements.txt") == {name: _version(pin) for name, pin in wanted.items()}


def test_one_version_of_ourselves(root: Path) -> None:
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{engine.__version__}"' in project
    assert f'requires-python = ">={_dotted(doctor.OLDEST)},<{_dotted((doctor.NEWEST[0], doctor.NEWEST[1] + 1))}"' in project
    setup = (root / "scripts/setup.sh").read_text(encoding="utf-8")
    assert f"{doctor.OLDEST} <= sys.version_info[:2] <= {doctor.NEWEST}" in setup
    assert re.search(
        rf"^## \[?({re.escape(engine.__version__)}|Unreleased)", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def test_every_dependency_is_argued_for_and_its_licence_noted(root: Path) -> None:
    decisions = (root / "docs/decisions/packages.md").read_text(encoding="utf-8")
    notices = (root / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    text = (root / "requirements.txt").read_text(encoding="utf-8")
    direct = re.findall(r"^([a-z0-9-]+)==", text.partition("# Needed by those.")[0], re.MULTILINE)
    assert [name for name in direct if f"`{name}`" not in decisions] == []
    everything = {line.partition("==")[0] for file in ("requirements.txt", "requirements-gpu.txt") for line in lines(root, file)}
    assert sorted(name for name in everything if f"| {name} |" not in notices) == []
