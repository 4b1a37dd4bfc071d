"""The machine's report: what it says of packages, cards and torch, and that it gives nobody away."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path, PureWindowsPath

import pytest

from engine import doctor
from engine.doctor import Card, Finding, Report

OLD_DRIVER = Card("NVIDIA GeForce RTX 3060", "551.23", 12288, (8, 6))


def said(findings: list[Finding]) -> str:
    return doctor.render(Report(tuple(findings)))


def test_report_of_this_machine(root: Path) -> None:
    report = doctor.report(root)
    text = doctor.render(report)
    names = [finding.name for finding in report.findings]
    assert {"python", "system", "machine", "path", "folders", "free disk", "packages", "torch"} <= set(names)
    assert str(root) not in text and str(Path.home()) + os.sep not in text
    assert f"{os.sep}{getpass.getuser()}{os.sep}" not in text
    assert text.splitlines()[-1] == "all that training needs is here" or not report.ok


def test_the_user_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/wang"))
    monkeypatch.setattr(getpass, "getuser", lambda: "wang")
    root = Path("/home/wang/我的 lora")
    text = f"{root}/output and /home/wang/x and /media/wang/usb"
    assert doctor.redact(text, root) == "<folder>/output and <home>/x and /media/<user>/usb"
    assert doctor.redact("wang stays a word elsewhere, /media/wangs too", root) == "wang stays a word elsewhere, /media/wangs too"


@pytest.mark.parametrize("text", ["C:\\Users\\Wang\\lora\\x", "c:/users/wang/lora/x", "'C:\\\\Users\\\\Wang\\\\lora\\\\x'"])
def test_the_user_is_not_named_on_windows(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(Path, "home", lambda: PureWindowsPath("C:\\Users\\Wang"))
    monkeypatch.setattr(getpass, "getuser", lambda: "Wang")
    assert doctor.redact(text, PureWindowsPath("D:\\lora")).strip("'").startswith("<home>")  # type: ignore[arg-type]
    assert doctor.redact(text, PureWindowsPath("C:\\Users\\Wang\\lora")).strip("'").startswith("<folder>")  # type: ignore[arg-type]
    other = doctor.redact("E:\\Wang: not ready, E:\\Wang", PureWindowsPath("D:\\lora"))  # type: ignore[arg-type]
    assert other == "E:\\<user>: not ready, E:\\<user>"


def test_the_report_with_the_proof_is_kept_and_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor --run`: what is printed is in logs/doctor.txt, without the folder and the home folder that the proof spoke of."""
    from engine.commands import doctor as command
    from engine.config.load import Loaded
    from engine.config.schema import Config

    def run() -> int:
        return command.run(command.Options(run=True), Loaded(Config(), {}, ()))

    root, home = tmp_path / "我的 lora", tmp_path / "home"
    report = Report((Finding("python", "3.10"),))
    monkeypatch.setattr(command, "ROOT", root)
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr(doctor, "report", lambda root: report)
    monkeypatch.setattr(command, "_proof", lambda: [f"reading {root}/models and {home}/x", "ready: a real training step ran"])
    assert run() == 0
    lines = (root / "logs/doctor.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("portable trainer ")
    assert lines[-2:] == ["reading <folder>/models and <home>/x", "ready: a real training step ran"]
    monkeypatch.setattr(command, "_proof", lambda: ["the proof failed: RuntimeError: x"])
    assert run() == 1


def test_pins_follow_their_markers(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    lines = ["a==1", "# no pin", 'old==2 ; python_version < "3.9"', 'new==3 ; python_version >= "3.10"', 'win==4 ; sys_platform == "win32"']
    file.write_text("\n".join(lines), encoding="utf-8")
    windows = {"win": "4"} if sys.platform == "win32" else {}
    assert doctor.pins(file) == {"a": "1", "new": "3", **windows}
    file.write_text('both==5 ; python_version < "3.14" and sys_platform != "win32"\n', encoding="utf-8")
    answers = {(3, 10, "linux"): {"both": "5"}, (3, 14, "linux"): {}, (3, 10, "win32"): {}}
    assert {(a, b, system): doctor.pins(file, (a, b), system) for a, b, system in answers} == answers
    file.write_text('a==1 ; platform_machine == "x"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="not understood"):
        doctor.pins(file)


def test_missing_and_other_packages(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("no-such-package==1.0\npytest==0.1\n", encoding="utf-8")
    found = {finding.name: finding for finding in doctor.packages(file, required=True)}
    assert found["missing"].value == "1 of 2: no-such-package" and found["missing"].state == "problem"
    assert "pinned: 0.1" in found["other versions"].value and found["other versions"].state == "note"
    assert doctor.packages(file, required=False)[0].state == "ok"
    assert doctor.packages(tmp_path / "none.txt", required=True)[0].state == "problem"


@pytest.mark.parametrize(
    ("used", "others", "said"),
    [
        (["no-a", "no-b"], [], "2 of 2: no-a, no-b"),
        (["no-a"], ["no-c", "no-d"], "3 of 3: no-a, and 2 that these need"),
        (["pytest"], ["no-c", "no-d"], "2 of 3: no-c, no-d"),
        (["pytest"], [f"no-{letter}" for letter in "abcdefg"], "7 of 8: no-a, no-b, no-c, no-d, no-e and 2 more"),
    ],
)
def test_missing_packages_are_counted_and_those_that_the_engine_uses_named(
    tmp_path: Path, root: Path, used: list[str], others: list[str], said: str
) -> None:
    file = tmp_path / "requirements.txt"
    lines = [f"{name}==1.0" for name in used], [f"{name}==1.0" for name in others]
    file.write_text("\n".join(["# Used by the engine itself.", *lines[0], "", doctor.INDIRECT, *lines[1]]), encoding="utf-8")
    (found,) = (finding for finding in doctor.packages(file, required=True) if finding.name == "missing")
    assert found.value == said and found.hint == f"run {doctor.SET_UP} again"
    assert doctor.INDIRECT in (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {"torch", "pillow"} <= doctor.direct(root / "requirements.txt") and len(doctor.direct(root / "requirements.txt")) < 20


def test_an_nvidia_card_that_torch_cannot_use_is_a_problem() -> None:
    old = doctor.torch_findings({"version": "2.13.0+cu130", "cuda_build": "13.0", "cuda": False, "cards": []}, [OLD_DRIVER])
    assert old[-1].state == "problem" and "551.23" in old[-1].hint and "580" in old[-1].hint
    cpu = doctor.torch_findings({"version": "2.13.0+cpu", "cuda_build": None, "cuda": False, "cards": []}, [OLD_DRIVER])
    assert cpu[-1].state == "note" and "set-up again" in cpu[-1].hint  # it works, and was perhaps chosen
    none = doctor.torch_findings({"version": "2.13.0+cpu", "cuda_build": None, "cuda": False, "cards": []}, [])
    assert said(none).endswith("all that training needs is here")


@pytest.mark.parametrize(("capability", "words"), [([7, 5], "no bf16"), ([8, 0], ", bf16"), ([12, 0], ", bf16")])
def test_half_precision_of_a_card(capability: list[int], words: str) -> None:
    cards = [{"name": "NVIDIA GeForce", "capability": capability, "bytes": 8 << 30, "fault": ""}]
    found = doctor.torch_findings({"version": "2.13.0", "cuda_build": "13.0", "cuda": True, "cards": cards}, [])
    assert words in found[-1].value and "8.0 GiB" in found[-1].value


NO_KERNEL = "AcceleratorError: CUDA error: no kernel image is available for execution on the device"


@pytest.mark.parametrize(
    ("faults", "states", "ok"),
    [
        (("", ""), ("ok", "ok"), True),
        (("", NO_KERNEL), ("ok", "note"), True),
        ((NO_KERNEL, ""), ("note", "ok"), True),
        ((NO_KERNEL, NO_KERNEL), ("problem", "problem"), False),
        ((NO_KERNEL,), ("problem",), False),
    ],
)
def test_a_card_that_does_not_work_is_a_problem_only_alone(faults: tuple[str, ...], states: tuple[str, ...], ok: bool) -> None:
    cards = [{"name": f"card {number}", "capability": [8, 6], "bytes": 8 << 30, "fault": fault} for number, fault in enumerate(faults)]
    found = doctor.torch_findings({"version": "2.13.0", "cuda_build": "13.0", "cuda": True, "cards": cards}, [OLD_DRIVER])
    assert tuple(finding.state for finding in found[1:]) == states and Report(tuple(found)).ok is ok
    for number, (fault, finding) in enumerate(zip(faults, found[1:], strict=True)):
        assert finding.name == f"device cuda:{number}" and f"card {number}" in finding.value
        assert (f"does not work: {fault}" in finding.value, bool(finding.hint)) == ((True, True) if fault else (False, False))


def test_the_cards_are_asked_in_a_process_of_their_own(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In whatever folder; what it says there is understood here."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    found = doctor._torch(root, [], 120.0)
    assert found[0].name == "torch" and found[0].value.startswith(metadata.version("torch").partition("+")[0])
    assert found[1].name.startswith("device") and found[1].state == "ok"


def test_cards_of_other_makers_train_on_the_cpu() -> None:
    (finding,) = doctor._card_findings([], ["AMD graphics"])
    assert "training will use the CPU" in finding.value and finding.state == "note"
    beside = doctor._card_findings([OLD_DRIVER], ["Intel graphics"])[-1]
    assert "not used for training" in beside.value and beside.state == "ok"
    assert "will use the CPU" in doctor._card_findings([], [])[0].value


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
@pytest.mark.parametrize(
    ("answer", "cards"),
    [
        ("NVIDIA GeForce RTX 3060, 551.23, 12288, 8.6", [OLD_DRIVER]),
        ("NVIDIA GeForce GT 710, 391.35, 2048, [Not Supported]", []),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", []),
    ],
)
def test_nvidia_smi_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, cards: list[Card]) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "{answer}"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert doctor.nvidia_cards() == cards


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import time; time.sleep(60)", "no answer within 1 s"),
        ("raise OSError('DLL load failed')", "DLL load failed"),
        ("import os; os._exit(3)", "exit status 3"),
    ],
)
def test_a_broken_torch_is_told(monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    monkeypatch.setattr(doctor, "_ASK_TORCH", code)
    (finding,) = doctor._torch(Path(), [], 1.0)
    assert words in finding.value and finding.state == "problem" and finding.hint


def test_a_read_only_folder_is_a_problem(tmp_path: Path, as_user: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    output = tmp_path / "output"
    output.mkdir()
    output.chmod(0o555)
    code = f"from pathlib import Path; from engine import doctor; print(doctor._place(Path({str(tmp_path)!r})))"
    answer = as_user("-c", code)
    output.chmod(0o755)
    assert "cannot write to output'" in answer.stdout, answer
