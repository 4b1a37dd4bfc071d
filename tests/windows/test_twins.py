"""Each front script's .cmd twin under cmd: what it hands to PowerShell, from any folder, and that PowerShell's status is its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rig_run import Rig

pytestmark = pytest.mark.windows

TWINS = sorted(path.name for path in (Path(__file__).resolve().parents[2] / "scripts").glob("*.cmd"))


def test_there_are_twins(root: Path) -> None:
    assert [name.replace(".cmd", ".ps1") for name in TWINS] == sorted(path.name for path in (root / "scripts").glob("*.ps1")) != []


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("status", [0, 7])
def test_a_twin_calls_its_script(root: Path, rig: Rig, tmp_path: Path, name: str, status: int) -> None:
    folder = tmp_path / "我的 lora (1) & co's ^! [x]" / "scripts"
    folder.mkdir(parents=True)
    shutil.copy(root / "scripts" / name, folder)
    shutil.copy(root / "scripts" / name.replace(".cmd", ".ps1"), folder)
    record = tmp_path / "record"
    words, variables = rig.clicked(folder / name, '--network_dim 8 --output_name "a b"')
    answer = rig.run(*words, cwd=Path("/"), STANDIN_RECORD=str(record), STANDIN_STATUS=str(status), **variables)
    assert answer[0] == status, answer
    (arguments,) = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    script = rig.path(folder / name.replace(".cmd", ".ps1"))
    flags = ["-NoLogo", "-NoProfile", "-ExecutionPolicy", "Bypass", "-File"]
    assert arguments == [*flags, script, "--network_dim", "8", "--output_name", "a b"]


def test_a_twin_without_its_script_tells_to_install_first(root: Path, rig: Rig, tmp_path: Path) -> None:
    """As in a zip that was unpacked and not installed: there the scripts lie in scripts/shipped."""
    folder = tmp_path / "my (1) & lora" / "scripts"
    folder.mkdir(parents=True)
    shutil.copy(root / "scripts/train.cmd", folder)
    words, variables = rig.clicked(folder / "train.cmd")
    record = tmp_path / "record"
    status, said = rig.run(*words, cwd=Path("/"), STANDIN_RECORD=str(record), **variables)
    assert status == 1 and "hint: double-click Install.cmd" in said and not record.exists()
