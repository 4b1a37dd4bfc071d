"""`download` against a hub of our own: names, addresses, hashes, mirrors, and what is said of each mistake."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from file_server import Site, serving
from models_fakes import TINY_SD1, original, write

from engine import __main__ as command
from engine.errors import UserError
from engine.tools import download

PAGE = "some-one/a.model"
Get = Callable[..., Path]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A base model of a few megabytes."""
    return write(tmp_path_factory.mktemp("model") / "a.safetensors", original("sd1", TINY_SD1)).read_bytes()


@pytest.fixture
def site(model: bytes) -> Iterator[Site]:
    with serving() as it:
        publish(it, {"a model.safetensors": model, "README.md": b"", "unet/config.json": b"{}"})
        yield it


def publish(site: Site, content: dict[str, bytes], page: str = PAGE, root: str = "") -> None:
    """Put a model's page on the hub, as the real one lists its files."""
    listed = []
    for path, data in content.items():
        site.files[f"{root}/{page}/resolve/main/{path}"] = data
        large = {"lfs": {"sha256": hashlib.sha256(data).hexdigest()}} if path.endswith((".safetensors", ".ckpt")) else {}
        listed.append({"rfilename": path, "size": len(data), **large})
    site.files[f"{root}/api/models/{page}"] = json.dumps({"siblings": listed}).encode()


@pytest.fixture
def get(site: Site, tmp_path: Path) -> Get:
    """Run the command's work; what it said is in `get.said`."""
    hub = site.address
    said: list[str] = []

    def run(what: str = PAGE, **more: str) -> Path:
        said.clear()
        return download.run(what, tmp_path / "models", hub, say=said.append, pause=0, **more)

    run.said = said  # type: ignore[attr-defined]
    return run


def said(get: Get) -> str:
    return "\n".join(get.said)  # type: ignore[attr-defined]


def refused(get: Get, *words: str, **more: str) -> UserError:
    with pytest.raises(UserError) as caught:
        get(*words, **more)
    return caught.value


NAMES = ["", "/a model.safetensors", "/blob/main/a%20model.safetensors", "/resolve/main/a%20model.safetensors?download=true"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_the_hub_or_its_address(get: Get, site: Site, tmp_path: Path, name: str, model: bytes) -> None:
    found = get(f"{site.address}/{PAGE}{name}" if "%" in name else PAGE + name)
    assert found == tmp_path / "models" / "a model.safetensors" and found.read_bytes() == model
    assert f"SHA-256 {hashlib.sha256(model).hexdigest()}, as expected" in said(get)
    assert "Stable Diffusion 1" in said(get)
    site.asked.clear()
    assert get() == found and "is there already" in said(get)
    assert [path for path, _ in site.asked] == [f"/api/models/{PAGE}"]


def test_what_the_hub_says_of_a_file_is_held(get: Get, site: Site, tmp_path: Path, model: bytes) -> None:
    site.files[f"/{PAGE}/resolve/main/a model.safetensors"] = model[:-1] + b"x"
    assert "its SHA-256 is" in refused(get).message
    assert list((tmp_path / "models").glob("*")) == []


def test_a_broken_connection_and_a_second_try(get: Get, site: Site, tmp_path: Path) -> None:
    path = f"/{PAGE}/resolve/main/a model.safetensors"
    site.break_after[path] = [100_000, *[0] * 5]
    assert "keeps breaking" in refused(get).message
    assert get().is_file() and site.asked[-1] == (path, "bytes=100000-")


def test_several_files_are_a_choice(get: Get, site: Site, model: bytes) -> None:
    publish(site, {"a.safetensors": model, "b.safetensors": model, "a.ckpt": model})
    error = refused(get)
    assert "2 files that may be a model" in error.message
    assert f"python -m engine download {PAGE}/b.safetensors  (" in error.hint
    assert get(f"{PAGE}/b.safetensors").name == "b.safetensors"
    assert "no file `c.safetensors`" in refused(get, f"{PAGE}/c.safetensors").message


def test_a_diffusers_folder_comes_whole(get: Get, site: Site, tmp_path: Path) -> None:
    weights = {f"{part}/{name}": b"weights" for part in ("unet", "vae") for name in ("diffusion_pytorch_model.fp16.safetensors",)}
    full = {"unet/diffusion_pytorch_model.safetensors": b"full", "unet/diffusion_pytorch_model.bin": b"pickle"}
    publish(site, {"model_index.json": b"{}", "unet/config.json": b"{}", **weights, **full})
    assert "model_index.json" in str(refused(get)) or said(get)  # an empty index describes no model; all files are there
    there = sorted(path.relative_to(tmp_path / "models/a.model").as_posix() for path in (tmp_path / "models/a.model").rglob("*.*"))
    vae = "vae/diffusion_pytorch_model.fp16.safetensors"
    assert there == ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", vae]
    assert "several files" in refused(get, sha256="0" * 64).message


def test_a_mirror_stands_for_the_hub(get: Get, site: Site, model: bytes) -> None:
    publish(site, {"m.safetensors": model}, "x/y", "/mirror")
    assert get("x/y", mirror=f"{site.address}/mirror").name == "m.safetensors"


def test_an_address(get: Get, site: Site, tmp_path: Path, model: bytes) -> None:
    site.files["/api/download/7"] = site.files["/d/vae.safetensors"] = model
    site.address = site.address.replace("127.0.0.1", "localhost")  # for what follows, not for the hub
    assert get(f"{site.address}/d/vae.safetensors?x=1").name == "vae.safetensors"
    assert "there already" in refused(get, f"{site.address}/d/vae.safetensors").message
    assert "does not end with a model's file name" in refused(get, f"{site.address}/api/download/7").message
    out = str(tmp_path / "模型" / "v.safetensors")
    digest = hashlib.sha256(model).hexdigest().upper()
    assert get(f"{site.address}/api/download/7", out=out, sha256=digest) == Path(out)
    assert "another file is there" in refused(get, f"{site.address}/api/download/7", out=out, sha256="0" * 64).message
    assert "is no SHA-256" in refused(get, f"{site.address}/d/vae.safetensors", sha256="12").message


@pytest.mark.parametrize("what", ["model.safetensors", "C:\\models\\a.safetensors", "../a/b", "ftp://x/y.safetensors", ""])
def test_what_is_neither_is_told(get: Get, what: str) -> None:
    assert "neither a web address nor a name on the hub" in refused(get, what).message


def test_a_page_that_is_not_there_or_no_model(get: Get, site: Site) -> None:
    assert "404" in refused(get, "no/body").message
    publish(site, {"README.md": b""})
    assert "0 files that may be a model" in refused(get).message
    site.files[f"/api/models/{PAGE}"] = b"<html>"
    assert "not understood" in refused(get).message


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (([], "needs name"), (["a/b", "--sha26"], "did you mean `--sha256`"), (["a/b", "--out"], "needs a value")):
        assert command.main(["download", *words]) == 1
        assert told in capsys.readouterr().err.lower()
