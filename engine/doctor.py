"""What works on this machine: Python, packages, folders, cards, driver. PyTorch is asked in a process of its own.

Standard library only, so that it also answers where the packages are missing or broken.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from engine.errors import plural

OLDEST, NEWEST = (3, 10), (3, 14)  # the Pythons that requirements.txt has pins for
FOLDERS = ("cache", "models", "output", "train_data")
DISK_NEEDED = 2 << 30  # bytes: a base model's cached latents and a few saved LoRAs
DISK_WISHED = 10 << 30  # bytes: a full-size base model beside that
DEEPEST = 150  # characters of the longest path that an installation on Windows holds, below the product's folder; tests hold it
LONGEST_PATH = 259 - 1 - DEEPEST  # characters of the product's folder: Windows' own limit for a whole path is 259
SET_UP = "Install.cmd" if sys.platform == "win32" else "`bash scripts/setup.sh`"  # what installs the packages
INDIRECT = "# Needed by those."  # the line of requirements.txt below which packages stand that only others need
SHOWN = 5  # missing packages that are named where all of them are such
TORCH_SECONDS = 120.0  # the first import after an installation, with an antivirus reading along, takes a minute
BF16_CAPABILITY = (8, 0)  # RTX 30 and newer
CUDA_12_DRIVER, CUDA_13_DRIVER = "528.33", "580"  # the oldest drivers that NVIDIA names for these
VENDORS = {"0x1002": "AMD", "0x8086": "Intel", "0x10de": "NVIDIA"}  # PCI vendor numbers
DISPLAY_CLASS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"  # Windows' class of display adapters

State = Literal["ok", "note", "problem"]

_ASK_TORCH = """
import json, sys
sys.path.insert(0, sys.argv[1])
from engine import trials
print("answer:" + json.dumps(trials.answer()))
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report. `state` is "problem" where training cannot work, "note" where the user should know something."""

    name: str
    value: str
    state: State = "ok"
    hint: str = ""


@dataclass(frozen=True)
class Card:
    """One graphics card as its driver describes it."""

    name: str
    driver: str
    mebibytes: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Report:
    """All findings, free of the user's name and home folder."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether training can work here."""
        return all(finding.state != "problem" for finding in self.findings)


def report(root: Path, torch_seconds: float = TORCH_SECONDS) -> Report:
    """Look at this machine. `root` is the product's folder; torch gets `torch_seconds` to answer. Takes seconds, mostly torch's."""
    root = Path(root).resolve()
    cards = nvidia_cards()
    findings = [
        *_python(),
        *_machine(),
        *_place(root),
        *packages(root / "requirements.txt", required=True),
        *packages(root / "requirements-gpu.txt", required=False),
        *_card_findings(cards, other_cards()),
        *(_torch(root, cards, torch_seconds) if _installed("torch") else [Finding("torch", "is not here", "problem")]),
    ]
    return Report(tuple(Finding(it.name, redact(it.value, root), it.state, redact(it.hint, root)) for it in findings))


def render(report: Report) -> str:
    """The report as plain text, ready for a bug report; ends with what to do, or that all is well."""
    mark: dict[State, str] = {"ok": "    ", "note": "note", "problem": "BAD "}
    width = max(len(finding.name) for finding in report.findings)
    lines = [f"{mark[it.state]}  {it.name.ljust(width)}  {it.value}" for it in report.findings]
    advice = [f"{it.name}: {it.hint}" for it in report.findings if it.hint and it.state != "ok"]
    problems = sum(it.state == "problem" for it in report.findings)
    verdict = "all that training needs is here" if report.ok else f"{plural(problems, 'problem')} to mend"
    return "\n".join([*lines, "", *(f"hint: {line}" for line in advice), verdict])


def redact(text: str, root: Path) -> str:
    """`text` without the product's folder, the home folder and the user's name in a path, however the slashes of these are written."""
    with contextlib.suppress(RuntimeError):  # no home folder at all
        for path, stand_in in ((root, "<folder>"), (Path.home(), "<home>")):
            if len(path.parts) > 1:
                text = re.sub(_in_any_spelling(path), lambda _, name=stand_in: name, text, flags=re.IGNORECASE)  # type: ignore[misc]
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return text
    return re.sub(rf"(?<=[\\/]){re.escape(user)}(?![\w-])", "<user>", text, flags=re.IGNORECASE)


def _in_any_spelling(path: Path) -> str:
    """A pattern for a path with slashes, backslashes, or the doubled backslashes of Python's and JSON's texts."""
    parts = [part for part in re.split(r"[\\/]+", str(path)) if part]
    begin = r"[\\/]+" if str(path)[0] in "\\/" else ""
    return begin + r"[\\/]+".join(map(re.escape, parts)) + r"(?![\w-])"


def _python() -> list[Finding]:
    version = platform.python_version()
    bits = 64 if sys.maxsize > 2**32 else 32
    value = f"{version}, {bits} bits, {platform.python_implementation()}"
    if not OLDEST <= sys.version_info[:2] <= NEWEST or bits != 64:
        wanted = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}, 64 bits"
        return [Finding("python", value, "problem", f"use Python {wanted}; the set-up makes its own environment from it")]
    if sys.prefix != sys.base_prefix:
        return [Finding("python", f"{value}, of a virtual environment")]
    embedded = any(Path(sys.prefix).glob("python*._pth"))
    return [Finding("python", f"{value}, {'of the bundle' if embedded else 'of the system'}")]


def _machine() -> list[Finding]:
    memory = _memory_bytes()
    value = f"{os.cpu_count() or '?'} cores, {_gib(memory)} of memory" if memory else f"{os.cpu_count() or '?'} cores"
    return [Finding("system", platform.platform()), Finding("machine", f"{platform.machine()}, {value}")]


def _memory_bytes() -> int:
    """The machine's memory in bytes; 0 where the system does not tell."""
    memory = 0
    if sys.platform == "win32":
        import ctypes

        class Status(ctypes.Structure):  # MEMORYSTATUSEX of the Windows API
            _fields_ = [("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("total", ctypes.c_uint64), ("rest", ctypes.c_uint64 * 6)]

        status = Status(length=ctypes.sizeof(Status))
        known = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        memory = int(status.total) if known else 0
    else:
        with contextlib.suppress(ValueError, OSError):
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return memory


def _place(root: Path) -> list[Finding]:
    """The product's folder: what its path is like, whether it can be written to, how much room is left."""
    text = str(root)
    traits = [f"{len(text)} characters", *(["with spaces"] if " " in text else []), *([] if text.isascii() else ["beyond ASCII"])]
    found = [Finding("path", ", ".join(traits)), *_windows_place(root)]
    refused = [name for name in FOLDERS if not _writable(root / name)]
    if refused:
        hint = "allow writing there, or move the product to a folder of your own"
        found.append(Finding("folders", f"cannot write to {', '.join(refused)}", "problem", hint))
    else:
        found.append(Finding("folders", f"{', '.join(FOLDERS)}: writable"))
    free = shutil.disk_usage(root).free
    state: State = "problem" if free < DISK_NEEDED else "note" if free < DISK_WISHED else "ok"
    hint = f"free some space: {_gib(DISK_WISHED)} leave room for a base model and its caches"
    found.append(Finding("free disk", _gib(free), state, hint))
    return found


def _windows_place(root: Path) -> list[Finding]:
    """What only matters on Windows: a path that leaves too little room, a file system with small files, a folder that is synchronised."""
    found: list[Finding] = []
    if sys.platform == "win32":
        import ctypes

        if len(str(root)) > LONGEST_PATH:
            hint = "move the folder to a shorter path: Windows' limit of 260 characters is near"
            found.append(Finding("long path", f"{len(str(root))} characters", "note", hint))
        name = ctypes.create_unicode_buffer(64)
        if ctypes.windll.kernel32.GetVolumeInformationW(root.anchor, None, 0, None, None, None, name, len(name)) and name.value == "FAT32":
            found.append(Finding("file system", "FAT32", "note", "it holds no file over 4 GB: keep large base models on another drive"))
        cloud = [os.environ[name] for name in ("OneDrive", "OneDriveConsumer", "OneDriveCommercial") if os.environ.get(name)]
        if any(Path(folder) in (root, *root.parents) for folder in cloud):
            hint = "move the folder out of OneDrive, which uploads every file and holds it while it does"
            found.append(Finding("synchronised", "the folder is inside OneDrive", "note", hint))
    return found


def _writable(folder: Path) -> bool:
    """Whether a file can be made in `folder`, or in the nearest folder above it that exists; found out by making one."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def pins(requirements: Path, python: tuple[int, int] = sys.version_info[:2], system: str = sys.platform) -> dict[str, str]:
    """Package -> version as the file pins it for a Python and a system. The file holds only lines `name==version [; marker]`."""
    found: dict[str, str] = {}
    for line in requirements.read_text(encoding="utf-8").splitlines():
        pin, _, marker = line.partition("#")[0].partition(";")
        if pin.strip() and _applies(marker.strip(), python, system):
            name, _, version = pin.strip().partition("==")
            found[name] = version
    return found


def _applies(marker: str, python: tuple[int, int], system: str) -> bool:
    """Whether an environment marker of the two kinds in our files is true there, or several with `and`. Raises ValueError for another."""
    if not marker:
        return True
    if " and " in marker:
        return all(_applies(part.strip(), python, system) for part in marker.split(" and "))
    match = re.fullmatch(r"(python_version|sys_platform) (==|!=|<|>=) \"([\w.]+)\"", marker)
    if not match:
        raise ValueError(f"requirements: this marker is not understood: {marker}")
    name, sign, value = match.groups()
    if name == "sys_platform":
        return (system == value) is (sign == "==")
    wanted = tuple(int(part) for part in value.split("."))
    return {"==": python == wanted, "<": python < wanted, ">=": python >= wanted}[sign]


def packages(requirements: Path, required: bool) -> list[Finding]:
    """The installed versions against the file's pins: what is missing, what differs."""
    name = "packages" if required else "optional packages"
    try:
        wanted = pins(requirements)
    except OSError:
        return [Finding(name, f"{requirements.name} is missing", "problem", "the folder is incomplete: unpack or clone it again")]
    missing, other, right = [], [], []
    for package, version in wanted.items():
        here = _installed(package)
        if here is None:
            missing.append(package)
        elif here.partition("+")[0] != version:  # torch names its build behind a plus sign
            other.append(f"{package} {here} (pinned: {version})")
        else:
            right.append(f"{package} {here}")
    if not required:
        return [Finding(name, ", ".join([*right, *other]) or "none")]
    found = [Finding(name, f"{len(right)} of {len(wanted)} as pinned")]
    if other:
        hint = "this may work, but was not tested; run the set-up again to get the pinned versions"
        found.append(Finding("other versions", ", ".join(other), "note", hint))
    if missing:
        value = f"{len(missing)} of {len(wanted)}: {_named(missing, direct(requirements))}"
        found.append(Finding("missing", value, "problem", f"run {SET_UP} again"))
    return found


def direct(requirements: Path) -> frozenset[str]:
    """The packages of the file that the engine itself uses: those above the ones that only other packages need."""
    above = requirements.read_text(encoding="utf-8").partition(f"\n{INDIRECT}")[0]
    return frozenset(line.partition("==")[0] for line in above.splitlines() if "==" in line.partition("#")[0])


def _named(missing: list[str], used: frozenset[str]) -> str:
    """The missing packages that the engine itself uses; where there is none of these, some of the others."""
    ours = [name for name in missing if name in used]
    if ours:
        rest = len(missing) - len(ours)
        return ", ".join(ours) + (f", and {rest} that these need" if rest else "")
    return ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")


def _installed(package: str) -> str | None:
    """The version of a package; None where it is not here whole: pip unpacks the description last, so that half a package has none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def nvidia_cards() -> list[Card]:
    """The NVIDIA cards that the driver knows, through its own `nvidia-smi`; empty where there is none."""
    cards = []
    for parts in _ask_driver("name,driver_version,memory.total,compute_cap"):
        with contextlib.suppress(ValueError, IndexError):  # a field that an old driver answers with words
            major, _, minor = parts[3].partition(".")
            cards.append(Card(parts[0], parts[1], int(parts[2]), (int(major), int(minor))))
    return cards


def nvidia_driver() -> str | None:
    """The NVIDIA driver's version, also one that is too old to tell a card's capability; None where no driver answers."""
    answers = [parts[0] for parts in _ask_driver("driver_version") if re.fullmatch(r"\d+(\.\d+)*", parts[0])]
    return answers[0] if answers else None


def _ask_driver(fields: str) -> list[list[str]]:
    """What `nvidia-smi` says of these fields, card by card; empty where it cannot."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = answer.stdout.splitlines() if answer.returncode == 0 else []
    return [[part.strip() for part in line.split(",")] for line in lines if line.strip()]


def other_cards() -> list[str]:
    """Names of cards of other makers, as far as the system tells without a driver's help."""
    found = [name for name in windows_adapters() if re.search(r"\b(AMD|Radeon|Intel|Arc)\b", name)]
    for card in sorted(Path("/sys/class/drm").glob("card[0-9]/device/vendor")):  # Linux; nothing elsewhere
        with contextlib.suppress(OSError):
            maker = VENDORS.get(card.read_text(encoding="ascii").strip(), "")
            if maker in ("AMD", "Intel"):
                found.append(f"{maker} graphics")
    return found


def windows_adapters() -> list[str]:
    """Windows' list of display adapters, from its registry (readable by everyone); empty elsewhere."""
    names: list[str] = []
    if sys.platform == "win32":
        import winreg

        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, DISPLAY_CLASS) as adapters:
            for number in range(winreg.QueryInfoKey(adapters)[0]):
                with contextlib.suppress(OSError), winreg.OpenKey(adapters, winreg.EnumKey(adapters, number)) as adapter:
                    names.append(str(winreg.QueryValueEx(adapter, "DriverDesc")[0]))
    return names


def _card_findings(cards: list[Card], others: list[str]) -> list[Finding]:
    found = [
        Finding(f"card {number}", f"{it.name}, {it.mebibytes} MiB, capability {it.capability[0]}.{it.capability[1]}, driver {it.driver}")
        for number, it in enumerate(cards)
    ]
    if others:
        use = "not used for training" if cards else "training will use the CPU: only NVIDIA cards are supported"
        hint = "" if cards else "training on a CPU works, and is tens of times slower than on an NVIDIA card"
        found.append(Finding("other card", f"{', '.join(others)}: {use}", "ok" if cards else "note", hint))
    if not cards and not others:
        hint = "if there is an NVIDIA card, install its driver"
        found.append(Finding("card", "no graphics card found: training will use the CPU", "note", hint))
    return found


def _torch(root: Path, cards: list[Card], seconds: float) -> list[Finding]:
    """torch's own answer, from a child process: a broken torch may crash or hang. `root` holds the engine."""
    run_again = "run the set-up again; where that does not help, put this report into a bug report"
    try:
        child = subprocess.run(
            [sys.executable, "-s", "-X", "utf8", "-c", _ASK_TORCH, str(root)],
            capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=seconds, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        hint = "an antivirus reads new packages when they are first used: try again in a minute"
        return [Finding("torch", f"gave no answer within {seconds:.0f} s", "problem", hint)]
    answers = [line for line in child.stdout.splitlines() if line.startswith("answer:")]
    if child.returncode != 0 or not answers:
        last = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        return [Finding("torch", f"cannot be used: {last}", "problem", run_again)]
    return torch_findings(json.loads(answers[-1].removeprefix("answer:")), cards)


def torch_findings(answer: dict[str, object], cards: list[Card]) -> list[Finding]:
    """What torch's answer means beside what the driver says."""
    build = answer["cuda_build"]
    found = [Finding("torch", f"{answer['version']}, {f'built for CUDA {build}' if build else 'built for the CPU'}")]
    if not answer["cuda"]:
        if not cards:
            return [*found, Finding("device", "cpu")]
        if not build:
            hint = "the installed torch is the CPU's, on which training is tens of times slower; run the set-up again for the card's"
            return [*found, Finding("device", f"cpu, though there is an {cards[0].name}", "note", hint)]
        needed = CUDA_13_DRIVER if str(build).startswith("13") else CUDA_12_DRIVER
        hint = f"update the NVIDIA driver: it is {cards[0].driver}, and CUDA {build} needs {needed} or newer"
        return [*found, Finding("device", "cpu, though there is an NVIDIA card that torch cannot use", "problem", hint)]
    listed = answer["cards"]
    assert isinstance(listed, list)
    return [*found, *_tried(listed)]


def _tried(listed: list[dict[str, Any]]) -> list[Finding]:
    """Each card of torch's list and whether it works: one that does not is no harm where another does."""
    others = "another card is used; this torch may be built for newer or older ones, or another program may fill it"
    none = f"close other programs that use the card, update the NVIDIA driver, run {SET_UP} again; `device = cpu` trains without it"
    some = any(not it["fault"] for it in listed)
    found = []
    for number, it in enumerate(listed):
        capability = tuple(it["capability"])
        fault, half = it["fault"], "bf16" if capability >= BF16_CAPABILITY else "no bf16: fp16 is used instead"
        state: State = "ok" if not fault else "note" if some else "problem"
        shown = f"does not work: {fault}" if fault else half
        value = f"{it['name']}, {_gib(it['bytes'])}, capability {capability[0]}.{capability[1]}, {shown}"
        found.append(Finding(f"device cuda:{number}", value, state, {"ok": "", "note": others, "problem": none}[state]))
    return found


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
