"""Files that are no picture for us are named as what they are; no program is started for them; no decoder's error leaves the one file."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pytest
from PIL import EpsImagePlugin, Image, ImageFile

from engine.data import decode, folder, kinds
from engine.data.decode import Unreadable
from engine.data.index import Index

Make = Callable[..., list[Path]]
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


def saved(form: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (16, 16)).save(out, form, **options)  # type: ignore[arg-type]
    return out.getvalue()


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("a.png", saved("PNG"))
    return out.getvalue()


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        packed.addfile(tarfile.TarInfo("a.png"))
    return out.getvalue()


def container(brand: bytes) -> bytes:
    """The beginning of an ISO container: HEIC, MP4 and others."""
    return struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0mif1heic" + b"\0" * 40


FOREIGN: dict[str, tuple[bytes, str]] = {
    "EPS": (EPS, "it is a PostScript drawing (EPS), which is not read here"),
    "EPS for DOS": (b"\xc5\xd0\xd3\xc6" + b"\0" * 26 + EPS, "a PostScript drawing (EPS)"),
    "EPS of Pillow's": (saved("EPS"), "a PostScript drawing (EPS)"),
    "PDF": (saved("PDF"), "a PDF document"),
    "GIF": (saved("GIF"), "it is a GIF, which is not read here"),
    "TIFF": (saved("TIFF"), "a TIFF"),
    "TIFF of a Macintosh": (b"MM\0*" + b"\0" * 40, "a TIFF"),
    "WMF": (b"\xd7\xcd\xc6\x9a\0\0" + b"\0" * 40, "a Windows metafile (WMF)"),
    "WMF without its head": (b"\x01\0\x09\0\0\x03" + b"\0" * 40, "a Windows metafile (WMF)"),
    "EMF": (b"\x01\0\0\0" + b"\0" * 36 + b" EMF" + b"\0" * 60, "a Windows metafile (EMF)"),
    "SVG": (b"<svg xmlns='x'></svg>", "an SVG drawing"),
    "SVG as XML": (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made -->\n<svg></svg>", "an SVG drawing"),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "it is no picture but an XML file"),
    "web page": (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "it is no picture but a web page"),
    "web page in capitals": (b"\xef\xbb\xbf <HTML><HEAD>", "a web page"),
    "web page behind a comment": (b"<!-- saved from url -->\r\n<html>", "a web page"),
    "PSD": (b"8BPS\0\x01" + b"\0" * 30, "a Photoshop file (PSD)"),
    "XCF": (b"gimp xcf v011\0", "a GIMP file (XCF)"),
    "CLIP": (b"CSFCHUNK" + b"\0" * 30, "a Clip Studio file"),
    "ICO": (saved("ICO"), "a Windows icon (ICO)"),
    "ICNS": (saved("ICNS", "RGBA"), "a macOS icon (ICNS)"),
    "HEIC": (container(b"heic"), "a HEIC picture (as phones take them)"),
    "HEIF": (container(b"mif1"), "a HEIC picture (as phones take them)"),
    "CR3": (container(b"crx "), "a camera's raw file"),
    "MP4": (container(b"isom"), "it is no picture but a video"),
    "QuickTime": (container(b"qt  "), "a video"),
    "WebM": (b"\x1aE\xdf\xa3" + b"\0" * 30, "a video"),
    "AVI": (b"RIFF\0\1\0\0AVI LIST", "a video"),
    "sound": (b"RIFF\0\1\0\0WAVEfmt ", "it is no picture but a sound"),
    "JPEG 2000": (saved("JPEG2000"), "a JPEG 2000"),
    "JPEG 2000 stream": (saved("JPEG2000", no_jp2=True), "a JPEG 2000"),
    "JPEG XR": (b"II\xbc\x01" + b"\0" * 30, "a JPEG XR"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 30, "it is a JPEG XL, which is not read here"),
    "JPEG XL stream": (b"\xff\x0a" + b"\0" * 30, "a JPEG XL"),
    "PPM": (saved("PPM"), "a PPM"),
    "DDS": (saved("DDS"), "a texture (DDS)"),
    "QOI": (b"qoif" + b"\0" * 30, "a QOI"),
    "EXR": (b"v/1\x01" + b"\0" * 30, "an OpenEXR"),
    "HDR": (b"#?RADIANCE\n", "a Radiance HDR"),
    "ZIP": (archive(), "it is no picture but a ZIP archive"),
    "7z": (b"7z\xbc\xaf'\x1c\0\4" + b"\0" * 30, "a 7z archive"),
    "RAR": (b"Rar!\x1a\x07\x01\0", "a RAR archive"),
    "gzip": (gzip.compress(b"x"), "a gzip archive"),
    "tar": (tar(), "a tar archive"),
    "program": (b"MZ\x90\0\x03\0\0\0", "it is no picture but a Windows program"),
    "safetensors": (struct.pack("<Q", 40) + b'{"a":{"dtype":"F32"' + b" " * 60, "a safetensors file"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "a Git LFS pointer"),
    "text": ("一只白色的猫\n".encode(), "it is no picture but text"),
    "text longer than what is looked at": (b"a" + "猫".encode() * 4000, "text"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_not_read_is_named_as_what_it_is(name: str) -> None:
    raw, words = FOREIGN[name]
    with pytest.raises(Unreadable) as caught:
        decode.decode(raw)
    assert words in caught.value.message and caught.value.hint
    if "which is not read here" in caught.value.message:
        assert caught.value.hint == "save it as PNG or JPEG"


@pytest.mark.parametrize("name", ["JPEG XL", "AVIF", "WEBP"])
def test_what_this_pillow_cannot_read_is_named_too(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    Image.init()
    raw = FOREIGN[name][0] if name in FOREIGN else saved(name)
    for registered in (Image.EXTENSION, Image.OPEN):
        for key in [key for key, value in registered.items() if name in (key, value)]:
            monkeypatch.delitem(registered, key)
    with pytest.raises(Unreadable, match=f"it is an? {name}, which is not read here"):
        decode.decode(raw)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "AVIF", "MPO"])
def test_what_is_read_is_read_and_never_named_as_another_kind(form: str) -> None:
    if form not in Image.registered_extensions().values():
        pytest.skip(f"this Pillow reads no {form}")
    options = {"save_all": True, "append_images": [Image.new("RGB", (16, 16), "red")]} if form == "MPO" else {}
    raw = saved(form, **options)
    assert decode.decode(raw).size == (16, 16)
    for length in range(len(raw)):
        kind = kinds.of(raw[:length])
        assert kind is None or kind.format == form.replace("MPO", "JPEG") or kind.name == "text", length
    for length in (20, 40):
        with pytest.raises(Unreadable, match="damaged|cut short"):
            decode.decode(raw[:length])


@pytest.mark.parametrize("raw", [b"\0" * 500, bytes(range(200, 256)) * 9, b"\0\0\2\0" + b"\0" * 40])
def test_what_nobody_knows_is_told_with_what_is_read(raw: bytes) -> None:
    with pytest.raises(Unreadable, match=r"no picture of a kind that is read here \(PNG, JPEG, .*\), or damaged from the start"):
        decode.decode(raw)


@pytest.mark.skipif(os.name == "nt", reason="the program that stands in is a shell script")
def test_no_program_is_started_for_a_picture(tmp_path: Path, pictures: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    program, mark = tmp_path / "bin" / "gs", tmp_path / "mark"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho started >'{mark}'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow looks for it once in a process
    path = tmp_path / "a.png"
    path.write_bytes(EPS)
    sound = pictures(tmp_path / "pics")[0]
    with Index(None) as index:
        records = index.look([path, sound])
    assert not mark.exists()
    assert "PostScript drawing (EPS)" in records[path].problem and "PNG" in records[path].hint and not records[sound].problem


class TheirOwn(Exception):
    """What a plug-in might raise."""


ERRORS: tuple[Exception, ...] = (
    OSError("broken data stream"), SyntaxError("bad header"), ValueError("odd"), EOFError("end"), IndexError("place"), KeyError("x"),
    struct.error("unpack"), zlib.error("-3"), AttributeError("NoneType"), AssertionError(), RuntimeError("decoder"), TypeError("int"),
    NotImplementedError("level 9"), OverflowError("large"), RecursionError("deep"), ZeroDivisionError("0"), ImportError("codec"),
    UnicodeDecodeError("utf-8", b"", 0, 1, "odd"), LookupError("look"), StopIteration(), TheirOwn("own"), MemoryError(),
)  # fmt: skip


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`plug_in(opening=, loading=, image=)`: a decoder of JPEG XL that raises, or gives an image."""
    Image.init()
    monkeypatch.setitem(Image.EXTENSION, ".jxl", "JXL")

    def register(opening: BaseException | None = None, loading: BaseException | None = None, image: Image.Image | None = None) -> None:
        class Decoder(ImageFile.ImageFile):
            format = "JXL"

            def _open(self) -> None:
                if opening:
                    raise opening
                shown = image or Image.new("RGB", (8, 4))
                self._mode, self._size = shown.mode, shown.size

            def load(self) -> None:  # type: ignore[override]
                if loading:
                    raise loading
                if image:
                    self.im = image.im

        monkeypatch.setitem(Image.OPEN, "JXL", (Decoder, lambda prefix: prefix.startswith(b"\xff\x0a")))

    yield register


JXL = b"\xff\x0a" + b"\0" * 30


@pytest.mark.parametrize("when", ["opening", "loading"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_decoder_raises_is_that_files_problem(
    tmp_path: Path, pictures: Make, plug_in: Callable[..., None], error: Exception, when: str
) -> None:
    plug_in(**{when: error})
    sound = pictures(tmp_path)
    odd = tmp_path / "odd.jxl"
    odd.write_bytes(JXL)
    with decode.quiet(), Index(None) as index:
        records = index.look([odd, *sound])
    assert not any(records[path].problem for path in sound)
    told = records[odd].problem
    assert records[odd].hint and ("damaged" in told or "cut short" in told or "fit into memory" in told)
    if when == "loading" and not isinstance(error, MemoryError):
        assert (str(error) or type(error).__name__) in told


@pytest.mark.parametrize("when", ["opening", "loading"])
def test_ctrl_c_in_a_decoder_passes(plug_in: Callable[..., None], when: str) -> None:
    plug_in(**{when: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        decode.decode(JXL)


@pytest.mark.parametrize("error", [RuntimeError("x"), AttributeError("x"), OverflowError("x"), TheirOwn("x")])
def test_metadata_that_cannot_be_read_leaves_the_picture_upright(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(self: Image.Image) -> Image.Exif:
        raise error

    monkeypatch.setattr(Image.Image, "getexif", broken)
    monkeypatch.setattr(ImageFile.ImageFile, "getexif", broken, raising=False)
    decoded = decode.decode(saved("PNG"))
    assert decoded.size == (16, 16) and "turned" not in decoded.traits


def test_a_plug_in_for_jpeg_xl_is_used(tmp_path: Path, plug_in: Callable[..., None]) -> None:
    plug_in()
    (tmp_path / "a.jxl").write_bytes(JXL)
    assert ".jxl" in folder.picture_extensions() and "JXL" in decode.formats()
    assert [path.name for path in folder.list_folder(tmp_path).pictures] == ["a.jxl"]


@pytest.mark.parametrize("values", [[0.0, 0.5, 1.0], [0.0, 127.6, 255.0]])
def test_floats_in_either_range(plug_in: Callable[..., None], values: list[float]) -> None:
    plug_in(image=Image.fromarray(numpy.array([values], numpy.float32)))
    decoded = decode.decode(JXL)
    assert [decoded.image.getpixel((x, 0)) for x in range(3)] == [(0,) * 3, (128,) * 3, (255,) * 3]
