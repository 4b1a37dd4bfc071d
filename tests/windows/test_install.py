"""Install.cmd in the rig: from nothing to ready, and every way in which it is interrupted, cut off or lied to."""

from __future__ import annotations

import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from file_server import Site
from product import Product, sha256, wheel
from rig_run import Rig

from engine import doctor
from install import records

pytestmark = pytest.mark.windows

Install = Callable[..., tuple[int, str]]
READY = "ready: a real training step ran on a stand-in"
TORCH = "/whl/cu130/torch-2.13.0+cu130.whl"
NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens


def is_ready(answer: tuple[int, str]) -> bool:
    status, said = answer
    assert (status, READY in said) == (0, True), said
    return True


def is_told(answer: tuple[int, str], message: str, hint: str) -> bool:
    """It did not end well, and said what is wrong and what to do in its last words."""
    status, said = answer
    last = [line for line in said.splitlines() if line.startswith(("not ready: ", "next: "))]
    assert status == 1 and len(last) == 2 and READY not in said, said
    assert message in last[0] and hint in last[1], said
    return True


def test_from_nothing_to_ready_and_again(product: Product, install: Install, site: Site) -> None:
    status, said = install()
    assert is_ready((status, said)) and "torch for cu130: NVIDIA GeForce RTX 3060" in said
    assert TORCH in site.paths()
    installed = {package.name: package for package in records.installed(product.site_packages)}
    assert {name: package.version for name, package in installed.items()} == {
        "alpha": "1.0", "beta": "2.0", "tomli": "2.5.0", "extra": "3.0", "torch": "2.13.0+cu130",
    }  # fmt: skip
    assert [records.damage(package) for package in installed.values()] == [""] * 5
    files = [path.relative_to(product.folder).as_posix() for path in product.folder.rglob("*")]
    assert max(map(len, files)) <= doctor.DEEPEST
    assert not [name for name in files if "Scripts" in name or name.endswith("direct_url.json")]
    licences = (installed["torch"].info / "licenses/ALL.txt").read_text(encoding="utf-8")
    assert "third_party/a_folder_name" in licences and "Licence of a part." in licences
    assert [path.name for path in (product.folder / "cache").iterdir() if path.name in ("downloads", "pip", "tmp")] == []
    for log in ("doctor.txt", "install.log"):
        assert product.folder.name not in (product.folder / "logs" / log).read_text(encoding="utf-8")
    again = install()
    assert is_ready(again) and site.paths() == [] and "installing" not in again[1]


def test_the_users_own_packages_stay_out_without_flags(product: Product, install: Install) -> None:
    """The engine called as documents and messages call it: packages of another Python 3.10 would come first."""
    assert is_ready(install(cards=""))
    python = "python_310/python.exe"
    _, said = product.rig.run(python, "-m", "site", "--user-site", cwd=product.folder)
    theirs = Path(product.rig.run("winepath", "-u", said.strip(), cwd=product.folder)[1].strip())
    theirs.mkdir(parents=True, exist_ok=True)
    broken = theirs / "alpha.py"
    broken.write_text("raise OSError('of another Python')", encoding="utf-8")
    try:
        status, said = product.rig.run(python, "-c", "import alpha", cwd=product.folder)
        assert status == 1 and "site-packages" in said, said  # so it would have come first
        assert is_ready(product.rig.run(python, "-m", "engine", "doctor", "--run", cwd=product.folder))
    finally:
        broken.unlink()


@pytest.mark.parametrize(
    ("path", "after", "resumed"),
    [("/ftp/python.zip", 3_000_000, True), (TORCH, 300_000, True), ("/files/beta-2.0-py3-none-any.whl", 16_384, False)],
)
def test_killed_in_the_middle_of_a_download(product: Product, install: Install, site: Site, path: str, after: int, resumed: bool) -> None:
    site.stall_after[path] = after
    words, variables = product.double_click()
    child = product.rig.start(*words, cwd=product.folder, STANDIN_CARDS="NVIDIA GeForce RTX 3060|581.29|12288|8.6", **variables)
    assert site.stalled.wait(120), child.communicate(timeout=10)[0]
    time.sleep(1)  # what was sent is written
    product.rig.kill()
    child.communicate(timeout=60)
    site.stall_after.clear()
    site.released.set()
    site.asked.clear()
    assert is_ready(install())
    ranges = [wanted for asked, wanted in site.asked if asked == path]
    assert len(ranges) == 1 and ranges[0].startswith("bytes=") is resumed


def test_killed_while_unpacking(product: Product, install: Install, tmp_path: Path) -> None:
    words, variables = product.double_click()
    record = tmp_path / "stopped"
    child = product.rig.start(*words, cwd=product.folder, STANDIN_RECORD=str(record), STANDIN_TAR_STOPS="20", **variables)
    deadline = time.monotonic() + 120
    while not record.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    product.rig.kill()
    child.communicate(timeout=60)
    unpacked = product.folder / "python_310"
    assert (unpacked / "LICENSE.txt").exists() and not (unpacked / "unpacked.txt").exists()
    assert is_ready(install())


def test_a_half_installed_package_is_installed_again(product: Product, install: Install, site: Site) -> None:
    assert is_ready(install())
    site.asked.clear()
    info = product.site_packages / "beta-2.0.dist-info"
    (info / "INSTALLER").unlink()
    (info / "RECORD").write_text("beta/0.py,,6\n", encoding="utf-8")
    (product.site_packages / "~eta").mkdir()
    (product.site_packages / "torch/lib/noise.dll").write_bytes(b"cut")
    assert is_ready(install())
    assert {"/files/beta-2.0-py3-none-any.whl", TORCH} <= set(site.paths())
    assert (product.site_packages / "torch/lib/noise.dll").stat().st_size == 600_000
    assert not (product.site_packages / "~eta").exists()


def test_a_python_that_arrives_changed(product: Product, install: Install, site: Site) -> None:
    site.files["/ftp/python.zip"] = site.files["/ftp/python.zip"][:-1] + b"x"
    assert is_told(install(), "is not the right file", "run Install.cmd again")
    assert not (product.folder / "python_310/python.exe").exists()
    product.serve()
    assert is_ready(install())


def test_a_file_that_an_antivirus_holds(product: Product, install: Install, tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    busy.write_bytes(b"xx")
    assert is_ready(install(STANDIN_BUSY=product.rig.path(busy), cards="")) and busy.read_bytes() == b""
    (product.folder / "python_310/unpacked.txt").unlink()
    busy.write_bytes(b"x" * 99)
    assert is_told(install(STANDIN_BUSY=product.rig.path(busy)), "cannot be read: another program", "wait a minute")
    busy.write_bytes(b"")
    assert is_ready(install(STANDIN_BUSY=product.rig.path(busy), cards=""))


def test_a_torch_that_arrives_changed(product: Product, install: Install, site: Site) -> None:
    site.files[TORCH] = product.torch[:-1] + b"x"
    assert is_told(install(), "the publisher's index has no such file; it was removed", "run again")
    assert not (product.site_packages / "torch").exists()
    site.files["/whl/cu130/torch/"] = f'<a href="torch-2.13.0%2Bcu130.whl#sha256={sha256(product.torch)}">'.encode()
    product.write_table(torch="1" * 64)  # the one source of our table was wrong
    product.serve()
    site.files["/whl/cu130/torch/"] = f'<a href="torch-2.13.0%2Bcu130.whl#sha256={sha256(product.torch)}">'.encode()
    status, said = install()
    assert is_ready((status, said)) and "as in the publisher's own index" in said


def test_a_package_that_arrives_changed(product: Product, install: Install, site: Site) -> None:
    site.files["/files/beta-2.0-py3-none-any.whl"] = wheel("beta", "2.0", {"beta.py": b"import os  # not what was locked\n"})
    assert is_told(install(), "is not the one in the lock", "pip_mirror")
    assert not list(product.site_packages.glob("beta*"))


def test_no_network(product: Product, install: Install) -> None:
    product.write_table(base=NOWHERE)
    assert is_told(install(), "could not be downloaded (curl's status 7)", "in a browser into python_310")
    shutil.copy(product.rig.python_zip, product.folder / "python_310")  # as that message says
    product.site.files.clear()
    assert is_told(install(cards=""), "pip: a package is not where pip looked for it", "pip_mirror")


def test_offline_from_the_wheels_folder(product: Product, install: Install, site: Site) -> None:
    product.offline()
    product.write_table(base=NOWHERE)
    site.files.clear()
    status, said = install()
    assert is_ready((status, said)) and site.paths() == []
    assert (product.folder / "wheels/torch-2.13.0+cu130-cp310-cp310-win_amd64.whl").exists()


def test_a_wrong_wheel_in_the_wheels_folder(product: Product, install: Install) -> None:
    product.offline()
    torch = product.folder / "wheels/torch-2.13.0+cu130-cp310-cp310-win_amd64.whl"
    torch.write_bytes(product.torch[:1000])
    assert is_told(install(), "not the right file", "use another") and torch.exists()
    (product.folder / "wheels/beta-2.0-py3-none-any.whl").write_bytes(wheel("beta", "2.0", {}))
    records.remove(records.installed(product.site_packages)[1])  # beta
    assert is_told(install(), "is not the one in the lock", "source is bad")


def test_the_nuget_layout(product: Product, install: Install) -> None:
    package = product.folder / "python_310/python.3.10.11.nupkg"
    with zipfile.ZipFile(product.rig.python_zip) as embedded, zipfile.ZipFile(package, "w") as archive:
        with zipfile.ZipFile(embedded.open("python310.zip")) as library:
            for name in library.namelist():
                archive.writestr(f"tools/Lib/{name}", library.read(name))
        for name in embedded.namelist():
            if name not in ("python310.zip", "python310._pth"):
                archive.writestr(f"tools/{'DLLs/' if name.endswith('.pyd') else ''}{name}", embedded.read(name))
        archive.writestr("tools/include/Python.h", "")
        archive.writestr("python.nuspec", "")
    product.write_table(nuget=sha256(package.read_bytes()))
    assert is_ready(install())
    python = product.folder / "python_310"
    assert (python / "include/Python.h").exists() and (python / "Lib/os.pyc").exists() and not (python / "python310.zip").exists()
    package.write_bytes(package.read_bytes() + b"x")
    (python / "unpacked.txt").unlink()
    assert is_told(install(), "is not the right file", "delete that file")


def test_without_a_card_torch_is_the_cpus(product: Product, install: Install, site: Site) -> None:
    status, said = install(cards="")
    assert is_ready((status, said)) and "torch for cpu: no NVIDIA card was found" in said
    assert {package.version for package in records.installed(product.site_packages) if package.name == "torch"} == {"2.13.0"}
    assert TORCH not in site.paths() and not (product.site_packages / "extra.py").exists()
    product.set(torch_build="cu130")
    assert is_ready(install(cards=""))
    assert {package.version for package in records.installed(product.site_packages) if package.name == "torch"} == {"2.13.0+cu130"}


def test_a_new_card_with_an_old_driver(product: Product, install: Install) -> None:
    answer = install(cards="NVIDIA GeForce RTX 5090|572.16|32607|12.0")
    assert is_told(answer, "RTX 5090 needs the NVIDIA driver 580 or newer, and 572.16 is installed", "install the newest NVIDIA driver")


def test_what_is_optional_never_fails(product: Product, install: Install, site: Site) -> None:
    del site.files["/simple/extra/"]
    status, said = install()
    assert is_ready((status, said)) and "extra is left out, which is no harm" in said
    broken = wheel("extra", "3.0", {"extra.py": b"raise OSError('DLL load failed')\n"})
    site.files["/simple/extra/"] = b'<a href="/files/extra-3.0-py3-none-any.whl">extra</a>'
    site.files["/files/extra-3.0-py3-none-any.whl"] = broken
    lock = product.folder / "requirements-windows-gpu.lock"
    lock.write_text(f"extra==3.0 --hash=sha256:{sha256(broken)}\n", encoding="utf-8")
    status, said = install()
    assert is_ready((status, said)) and "once more without extra" in said
    assert not (product.site_packages / "extra.py").exists()


def test_alone_as_from_inside_a_zip(root: Path, rig: Rig, tmp_path: Path) -> None:
    shutil.copy(root / "Install.cmd", tmp_path)
    words, variables = rig.clicked(tmp_path / "Install.cmd")
    assert is_told(rig.run(*words, cwd=tmp_path, **variables), "started from inside the zip", "Extract All")
    assert [path.name for path in tmp_path.iterdir()] == ["Install.cmd"]


@pytest.fixture
def small_drive(tmp_path: Path) -> Iterator[Path]:
    """A drive of 300 MB. Needs the right to mount."""
    place = tmp_path / "drive"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small drive: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_drive_that_is_nearly_full(root: Path, rig: Rig, site: Site, small_drive: Path) -> None:
    product = Product(root, small_drive / "lora", rig, site)
    assert is_told(product.install(), "this drive has 0.", "free some space")
    assert not product.site_packages.exists()


def test_a_path_that_is_too_long(root: Path, rig: Rig, site: Site, tmp_path: Path) -> None:
    product = Product(root, tmp_path / ("a long name " * 9).strip(), rig, site)
    assert is_told(product.install(), "characters, and 108 is the most that works", "move the folder to a shorter path")
