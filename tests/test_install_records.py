"""What is whole, what must go, and what ties an installation to its place: on packages as pip leaves them."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest

from install import packages, records
from install.packages import Pin

LONG = "third_party/" * 12


def digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def put(site: Path, name: str, version: str, content: dict[str, bytes], finished: bool = True) -> records.Package:
    """A package as pip installs it."""
    info = f"{name}-{version}.dist-info"
    content = {**content, f"{info}/METADATA": b"Name: x\n", **({f"{info}/INSTALLER": b"pip\n"} if finished else {})}
    for path, data in content.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(data)
    rows = [f"{path},{digest(data)},{len(data)}" for path, data in content.items()]
    (site / info / "RECORD").write_text("\n".join([*rows, f"{info}/RECORD,,", ""]), encoding="utf-8")
    return next(it for it in records.installed(site) if it.info.name == info)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "我的 lora/python_310/Lib/site-packages"
    folder.mkdir(parents=True)
    return folder


def test_damage_is_found(site: Path) -> None:
    whole = put(site, "A_b", "1.0", {"a_b/__init__.py": b"x = 1", "a_b/中.py": b"y"})
    assert (whole.name, whole.version, records.damage(whole)) == ("a-b", "1.0", "")
    (site / "a_b/中.py").write_bytes(b"")
    assert "has 0 bytes and not 1" in records.damage(whole)
    (site / "a_b/中.py").unlink()
    assert "is missing" in records.damage(whole)
    assert "not finished" in records.damage(put(site, "c", "2", {"c.py": b""}, finished=False))
    (site / "c-2.dist-info/RECORD").write_bytes(b"\xff\xfe")
    assert "not finished" in records.damage(records.installed(site)[1])


def test_what_is_wrong_is_removed_and_named(site: Path) -> None:
    put(site, "a", "1.0", {"a/__init__.py": b"x", "shared/one.py": b"1", "../../a.dll": b"dll"})
    put(site, "b", "1.0", {"b.py": b"x", "shared/two.py": b"2"})
    put(site, "b", "2.0", {"b.py": b"longer"})
    (site / "a/__pycache__").mkdir()
    (site / "a/__pycache__/x.pyc").touch()
    wanted = [Pin("a", "1.1"), Pin("b", "2.0"), Pin("c", "1.0")]
    found = packages.wanting(wanted, site)
    assert [pin for pin, _ in found] == wanted
    assert [why for _, why in found] == ["1.0 is installed", "b.py is missing", "not installed"]  # b's two versions shared that file
    assert not (site / "a").exists() and not (site.parent.parent / "a.dll").exists() and (site.parent.parent / "Lib").exists()
    assert not list(site.glob("b-1.0*"))
    put(site, "b", "2.0", {"b.py": b"longer"})
    assert packages.wanting([wanted[1]], site) == []


def test_removing_never_leaves_the_folder(site: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.touch()
    records.remove(put(site, "a", "1", {f"{'../' * 4}mine.txt": b"", "a.py": b""}))
    assert mine.exists() and not (site / "a.py").exists()


def test_remains_of_a_killed_pip_go(site: Path) -> None:
    (site / "~orch").mkdir()
    (site / "~x.py").touch()
    (site / "torch").mkdir()
    records.remove_remains(site)
    assert [path.name for path in site.iterdir()] == ["torch"]


def test_what_names_a_place_goes_and_records_agree(site: Path) -> None:
    package = put(site, "a", "1", {"a.py": b"", "../../Scripts/a.exe": b"launcher", "a-1.dist-info/direct_url.json": b'{"url": "file:///D:/x"}'})
    (site.parent.parent / "Scripts/left.exe").touch()
    records.tidy(site)
    records.tidy(site)
    assert not (site.parent.parent / "Scripts").exists() and not (package.info / "direct_url.json").exists()
    assert records.damage(package) == ""
    assert "Scripts" not in (package.info / "RECORD").read_text(encoding="utf-8")


def test_licences_are_gathered_and_the_record_is_right(tmp_path: Path) -> None:
    wheel, short = tmp_path / "torch-1-py3-none-any.whl", tmp_path / "short" / "torch-1-py3-none-any.whl"
    content = {
        "torch/__init__.py": b"x = 1\n",
        "torch-1.dist-info/METADATA": b"Name: torch\nLicense-File: LICENSE\nLicense-File: third_party/a\n\nLicense-File: text\n",
        "torch-1.dist-info/WHEEL": b"Wheel-Version: 1.0\n",
        "torch-1.dist-info/licenses/LICENSE": b"ours\n",
        f"torch-1.dist-info/licenses/{LONG}LICENSE": "théirs\n".encode(),
    }
    rows = "".join(f"{name},{digest(data)},{len(data)}\n" for name, data in content.items()) + "torch-1.dist-info/RECORD,,\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.mkdir("torch-1.dist-info/licenses/third_party") if hasattr(archive, "mkdir") else None
        for name, data in {**content, "torch-1.dist-info/RECORD": rows.encode()}.items():
            archive.writestr(name, data)
    before = wheel.read_bytes()
    records.gather_licences(wheel, short)
    assert wheel.read_bytes() == before
    with zipfile.ZipFile(short) as archive:
        assert archive.testzip() is None and len(set(archive.namelist())) == len(archive.namelist())
        record = {path: (hashed, size) for path, hashed, size in records._parse(archive.read("torch-1.dist-info/RECORD").decode())}
        assert sorted(record) == sorted(archive.namelist())
        for name in record.keys() - {"torch-1.dist-info/RECORD"}:
            assert record[name] == (digest(archive.read(name)), str(archive.getinfo(name).file_size))
        text = archive.read("torch-1.dist-info/licenses/ALL.txt").decode()
        metadata = archive.read("torch-1.dist-info/METADATA").decode()
    assert "ours" in text and "théirs" in text and f"{LONG}LICENSE" in text
    assert metadata == "Name: torch\nLicense-File: ALL.txt\n\nLicense-File: text\n"
    assert max(map(len, record)) < 60
