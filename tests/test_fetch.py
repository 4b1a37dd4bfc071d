"""Downloads against a real server that breaks connections, ignores ranges, changes files and lies."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from file_server import Site, serving

from engine import downloads, fetch
from engine.errors import UserError
from engine.fetch import Expected

DATA = bytes(range(256)) * 2000  # half a megabyte
DIGEST = hashlib.sha256(DATA).hexdigest()
Get = Callable[..., str]


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as it:
        it.files["/a b.bin"] = DATA
        yield it


@pytest.fixture
def get(site: Site, tmp_path: Path) -> Get:
    """Fetch the served file into a folder with an awkward name."""

    def run(expected: Expected | None = None, progress: fetch.Progress = fetch.nothing) -> str:
        return fetch.fetch(f"{site.address}/a%20b.bin", tmp_path / "下載 1" / "a.bin", expected or Expected(), progress, pause=0)

    return run


def in_folder(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "下載 1").glob("*"))


def test_a_file_comes_whole_with_its_hash(get: Get, tmp_path: Path) -> None:
    seen = []
    assert get(Expected(DIGEST, len(DATA)), progress=lambda here, total: seen.append((here, total))) == DIGEST
    assert (tmp_path / "下載 1" / "a.bin").read_bytes() == DATA
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))
    assert in_folder(tmp_path) == ["a.bin"]


def test_broken_connections_are_gone_on_with(get: Get, site: Site, tmp_path: Path) -> None:
    site.break_after["/a b.bin"] = [100_000, 50_000, 0, 0]
    assert get() == DIGEST
    assert [wanted for _, wanted in site.asked] == ["", "bytes=100000-", "bytes=150000-", "bytes=150000-", "bytes=150000-"]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(get: Get, site: Site, tmp_path: Path) -> None:
    site.break_after["/a b.bin"] = [100_000, *[0] * 5]
    with pytest.raises(UserError, match="keeps breaking") as caught:
        get()
    assert "resumes where it stopped" in caught.value.hint
    assert in_folder(tmp_path) == ["a.bin.part", "a.bin.part.json"]
    site.asked.clear()
    assert get() == DIGEST and site.asked == [("/a b.bin", "bytes=100000-")]


def test_a_file_that_changed_meanwhile_is_begun_anew(get: Get, site: Site, tmp_path: Path) -> None:
    site.break_after["/a b.bin"] = [100_000, *[0] * 5]
    with pytest.raises(UserError):
        get()
    site.files["/a b.bin"] = DATA[::-1]
    assert get() == hashlib.sha256(DATA[::-1]).hexdigest()


@pytest.mark.parametrize(("ranges", "tags"), [(False, True), (True, False)])
def test_servers_that_cannot_go_on_are_begun_anew(get: Get, site: Site, ranges: bool, tags: bool) -> None:
    site.ranges, site.tags = ranges, tags
    site.break_after["/a b.bin"] = [100_000]
    assert get() == DIGEST


def test_a_part_that_is_complete_needs_no_byte_more(get: Get, site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "下載 1"
    folder.mkdir()
    (folder / "a.bin.part").write_bytes(DATA)
    (folder / "a.bin.part.json").write_text(f'{{"version": "\\"{DIGEST[:16]}\\""}}', encoding="utf-8")
    assert get() == DIGEST and len(site.asked) == 1


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (Expected("0" * 64), f"its SHA-256 is {DIGEST}"),
        (Expected(size=5), "512,000 bytes, and 5 were expected"),
        (Expected(at_least=1 << 30), "at least 1,073,741,824"),
    ],
)
def test_the_wrong_file_is_refused_and_removed(get: Get, tmp_path: Path, expected: Expected, words: str) -> None:
    with pytest.raises(UserError) as caught:
        get(expected)
    assert words in caught.value.message and "removed" in caught.value.message
    assert in_folder(tmp_path) == []


@pytest.mark.parametrize(("status", "hint"), [(404, "check the address"), (403, "in a browser"), (401, "no such page")])
def test_refusals_of_the_server_are_told_at_once(get: Get, site: Site, status: int, hint: str) -> None:
    site.status["/a b.bin"] = status
    with pytest.raises(UserError, match=str(status)) as caught:
        get()
    assert hint in caught.value.hint and len(site.asked) == 1


def test_a_server_that_is_busy_is_asked_again(get: Get, site: Site) -> None:
    site.status["/a b.bin"] = 503
    with pytest.raises(UserError, match="503"):
        get()
    assert len(site.asked) == 5


def test_no_server(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/x/y"
        with pytest.raises(UserError, match="cannot be reached") as caught:
            fetch.fetch(address, tmp_path / "a", pause=0)
    assert "/x/y" not in caught.value.message and caught.value.where == address
    with pytest.raises(UserError, match="no web address"):
        fetch.fetch("models/a.safetensors", tmp_path / "a", pause=0)


def test_a_full_disk_is_no_broken_connection(site: Site, small_disk: Path) -> None:
    site.files["/large"] = bytes(3 << 20)
    with pytest.raises(UserError, match="disk is full"):
        fetch.fetch(f"{site.address}/large", small_disk / "a", pause=0)
    assert len(site.asked) == 1


def row(site: Site, **more: str) -> downloads.Download:
    return downloads.Download("it", "a+b.whl", site.address + "/whl", "cu/a%2Bb.whl", **{"sha256": "0" * 64, **more})


def test_the_publishers_index_may_vouch_for_a_file(site: Site, tmp_path: Path) -> None:
    site.files["/whl/cu/a+b.whl"] = DATA
    link = f'<a href="/whl/cu/a%2Bb.whl#sha256={DIGEST}">a+b.whl</a>'
    site.files["/whl/cu/a/"] = f'<a href="/whl/cu/a%2Bb.whl.metadata#sha256={"1" * 64}">x</a>{link}'.encode()
    path, vouched = downloads.get(row(site, index="cu/a/"), tmp_path)
    assert path.read_bytes() == DATA and "publisher's own index" in vouched
    assert "as in install/downloads.toml" in downloads.get(row(site, sha256=DIGEST), tmp_path)[1]


def test_a_mirror_never_vouches_for_itself(site: Site, tmp_path: Path) -> None:
    site.files["/mirror/cu/a+b.whl"] = DATA
    site.files["/mirror/cu/a/"] = f'<a href="a%2Bb.whl#sha256={DIGEST}">'.encode()
    site.files["/whl/cu/a/"] = b"an index without that file"
    with pytest.raises(UserError, match="publisher's index has no such file; it was removed"):
        downloads.get(row(site, index="cu/a/"), tmp_path, f"{site.address}/mirror/")
    assert list(tmp_path.glob("*.whl")) == []


def test_the_table_of_downloads(root: Path, tmp_path: Path) -> None:
    table = downloads.read(root)
    assert {"python", "python-nuget", "pip", "torch-cu130", "torch-cu126", "hub"} == set(table)
    for name, it in table.items():
        assert name == "hub" or (len(it.sha256) == 64 and it.size + it.at_least > 0), name
        assert not it.base or it.base.startswith("https://")
    assert fetch.check(root / "install" / table["pip"].file, "", table["pip"].expected) == table["pip"].sha256
    with pytest.raises(UserError, match="cannot be read"):
        downloads.read(tmp_path)
