"""Decoding and resizing: orientation, transparency, palettes, 16 bits, CMYK, damage; area resampling that is exact."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from engine import pixels
from engine.data import images
from engine.data.buckets import BucketOptions, Placement, place
from engine.data.decode import Unreadable, decode, quiet
from engine.errors import UserError

PLACE = Placement((64, 64), (64, 64), (0, 0))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)  # type: ignore[arg-type]
    return out.getvalue()


def corners(width: int = 8, height: int = 4) -> Image.Image:
    """Grey, with one red pixel at the top left."""
    image = Image.new("RGB", (width, height), (90, 90, 90))
    image.putpixel((0, 0), (255, 0, 0))
    return image


@pytest.mark.parametrize(
    ("orientation", "size", "red"),
    [
        (1, (8, 4), (0, 0)), (2, (8, 4), (7, 0)), (3, (8, 4), (7, 3)), (4, (8, 4), (0, 3)),
        (5, (4, 8), (0, 0)), (6, (4, 8), (3, 0)), (7, (4, 8), (3, 7)), (8, (4, 8), (0, 7)), (9, (8, 4), (0, 0)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_exif_orientation(orientation: int, size: tuple[int, int], red: tuple[int, int], form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(saved(corners(), form, exif=exif.tobytes(), lossless=True))
    assert decoded.size == decoded.image.size == size
    assert decoded.image.getpixel(red) == (255, 0, 0)
    assert ("turned" in decoded.traits) == (2 <= orientation <= 8)


def test_damaged_exif_leaves_the_picture_upright() -> None:
    with quiet():
        assert decode(saved(corners(), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")).size == (8, 4)


def test_transparency_shows_the_background() -> None:
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    image.putpixel((1, 0), (200, 100, 0, 255))
    for data in (saved(image, "PNG"), saved(image, "WEBP", lossless=True)):
        decoded = decode(data, "#00ff00")
        assert decoded.traits == ("alpha",)
        assert [decoded.image.getpixel((x, 0)) for x in (0, 1)] == [(0, 255, 0), (200, 100, 0)]


def test_half_transparency_mixes() -> None:
    assert decode(saved(Image.new("RGBA", (1, 1), (255, 0, 0, 128)), "PNG"), "#ffffff").image.getpixel((0, 0)) == (255, 127, 127)
    assert decode(saved(Image.new("LA", (1, 1), (0, 128)), "PNG"), "#ffffff").image.getpixel((0, 0)) == (127, 127, 127)


def test_opaque_alpha_is_no_trait() -> None:
    decoded = decode(saved(Image.new("RGBA", (1, 1), (1, 2, 3, 255)), "PNG"), "#ffffff")
    assert decoded.traits == () and decoded.image.getpixel((0, 0)) == (1, 2, 3)


def test_palettes_with_and_without_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 200, 100, 50])
    image.putpixel((1, 0), 1)
    plain = decode(saved(image, "PNG")).image
    assert [plain.getpixel((x, 0)) for x in (0, 1)] == [(9, 8, 7), (200, 100, 50)]
    for transparency in (0, bytes([0, 255])):
        clear = decode(saved(image, "PNG", transparency=transparency), "#ffffff").image
        assert [clear.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 100, 50)]


def test_colour_key_transparency() -> None:
    data = saved(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert decode(data, "#ffffff").image.getpixel((0, 0)) == (255, 255, 255)


def test_one_bit_and_grey() -> None:
    assert decode(saved(Image.new("1", (1, 1), 1), "PNG")).image.getpixel((0, 0)) == (255, 255, 255)
    assert decode(saved(Image.new("L", (1, 1), 77), "BMP")).image.getpixel((0, 0)) == (77, 77, 77)


def png16(values: list[int], colour: int) -> bytes:
    """A PNG of one row, 16 bits a channel; colour type 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = b"\0" + struct.pack(f">{len(values)}H", *values)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", len(values) // channels, 1, 16, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(row)),
        (b"IEND", b""),
    ]
    body = b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def test_sixteen_bits_a_channel() -> None:
    grey = decode(png16([0, 257 * 100, 32768, 65535], 0))
    assert [grey.image.getpixel((x, 0)) for x in range(4)] == [(0,) * 3, (100,) * 3, (128,) * 3, (255,) * 3]
    assert "16-bit" in grey.traits
    assert decode(png16([65535, 257 * 100, 0], 2)).image.getpixel((0, 0)) == (255, 100, 0)
    assert decode(png16([257 * 50, 0], 4), "#ffffff").image.getpixel((0, 0)) == (255, 255, 255)
    assert decode(png16([65535, 257 * 100, 0, 65535], 6)).image.getpixel((0, 0)) == (255, 100, 0)


def test_cmyk_jpeg() -> None:
    decoded = decode(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    red, green, blue = decoded.image.getpixel((8, 8))  # type: ignore[misc]
    assert red > 240 and green < 15 and blue < 15 and "CMYK" in decoded.traits


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    decoded = decode(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    assert decoded.traits == ("animated",) and decoded.image.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("draft", [0, 32])
def test_cut_short(form: str, draft: int) -> None:
    picture = Image.effect_noise((200, 200), 80).convert("RGB")
    data = saved(picture, form)
    assert decode(data, draft=draft).size == (200, 200)
    with pytest.raises(Unreadable):
        decode(data[: len(data) * 2 // 3], draft=draft)


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "the file is empty"), (b"hello", "no picture but text"), (b"\x89PNG\r\n\x1a\n" + b"x" * 60, "damaged")]
)
def test_no_picture(data: bytes, message: str) -> None:
    with pytest.raises(Unreadable, match=message) as caught:
        decode(data)
    assert caught.value.hint


def test_decompression_bomb_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16)
    with pytest.raises(Unreadable, match="million pixels"):
        decode(saved(Image.new("RGB", (10, 10)), "PNG"))


def test_draft_keeps_the_full_size_known() -> None:
    decoded = decode(saved(Image.new("RGB", (1000, 500)), "JPEG"), draft=100)
    assert decoded.size == (1000, 500) and 100 <= decoded.image.width < 1000


def test_area_counts_fractions_of_pixels() -> None:
    row = Image.fromarray(numpy.array([[10, 20, 30, 40, 50]], numpy.uint8)).convert("RGB")
    assert images.resize(row, (2, 1), "area")[0, :, 0].tolist() == [18, 42]  # (10+20+15)/2.5, (15+40+50)/2.5
    assert images.resize(row, (4, 1), "area")[0, :, 0].tolist() == [12, 24, 36, 48]
    square = Image.fromarray(numpy.arange(36, dtype=numpy.uint8).reshape(6, 6) * 7).convert("RGB")
    exact = numpy.asarray(square, numpy.float64).reshape(3, 2, 2, 3, 3).mean((1, 3))
    assert numpy.array_equal(images.resize(square, (2, 3), "area"), numpy.rint(exact))


def test_default_is_area_when_both_sides_shrink_and_lanczos_otherwise() -> None:
    noise = Image.effect_noise((40, 40), 60).convert("RGB")
    assert numpy.array_equal(images.resize(noise, (20, 30)), images.resize(noise, (20, 30), "area"))
    assert numpy.array_equal(images.resize(noise, (20, 60)), images.resize(noise, (20, 60), "lanczos"))
    assert numpy.array_equal(images.resize(noise, (40, 40)), numpy.asarray(noise))


@pytest.mark.parametrize("name", pixels.INTERPOLATIONS)
@pytest.mark.parametrize("size", [(17, 23), (60, 23), (90, 80)])
def test_every_interpolation_keeps_flat_colour(name: str, size: tuple[int, int]) -> None:
    out = images.resize(Image.new("RGB", (60, 70), (10, 200, 90)), size, name)
    assert out.shape == (size[1], size[0], 3) and (out == (10, 200, 90)).all()


def test_load_cuts_the_bucket_out(tmp_path: Path) -> None:
    path = tmp_path / "一 張.png"
    pixels = numpy.zeros((40, 100, 3), numpy.uint8)
    pixels[:, :, 0] = numpy.arange(100)
    Image.fromarray(pixels).save(path)
    out = images.load(path, digest(path), Placement((64, 32), (100, 40), (18, 4)))
    assert out.shape == (32, 64, 3) and out[0, :, 0].tolist() == list(range(18, 82))
    placement = place((100, 40), BucketOptions((64, 64), minimum=32, maximum=128, step=32))
    assert images.load(path, digest(path), placement).shape == (placement.bucket[1], placement.bucket[0], 3)


def test_load_names_the_file(tmp_path: Path, pictures: Callable[..., list[Path]]) -> None:
    made = pictures(tmp_path)[0]
    made.write_bytes(made.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read") as caught:
        images.load(made, digest(made), PLACE)
    assert caught.value.where == str(made)


def test_what_is_decoded_is_what_was_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that changes while it is read gives the pixels of the bytes that were compared, or none."""
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "red").save(path)
    looked_at, real = digest(path), Path.read_bytes

    def read_then_change(self: Path) -> bytes:
        raw = real(self)
        Image.new("RGB", (64, 64), "blue").save(self)
        return raw

    monkeypatch.setattr(Path, "read_bytes", read_then_change)
    assert (images.load(path, looked_at, PLACE) == (255, 0, 0)).all()
    with pytest.raises(images.Changed, match="changed after it was looked at") as caught:
        images.load(path, looked_at, PLACE)
    assert caught.value.image == path and caught.value.where == str(path) and "start again" in caught.value.hint


REFUSALS = (FileNotFoundError(2, "No such file"), PermissionError(13, "Permission denied"), OSError("odd"), MemoryError())


@pytest.mark.parametrize("error", REFUSALS)
def test_load_names_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refused(self: Path) -> bytes:
        raise error

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(UserError, match=r"this picture cannot be read: (it cannot be opened \(|it does not fit into memory)") as caught:
        images.load(tmp_path / "a.png", "0" * 64, PLACE)
    assert caught.value.where == str(tmp_path / "a.png") and caught.value.hint and "None" not in caught.value.message


def test_to_tensor() -> None:
    pixels = numpy.array([[[0, 255, 51], [255, 0, 204]]], numpy.uint8)
    tensor = images.to_tensor(pixels)
    expected = torch.tensor([[[-1.0, 1.0]], [[1.0, -1.0]], [[-0.6, 0.6]]])
    assert tensor.shape == (3, 1, 2) and tensor.dtype == torch.float32
    torch.testing.assert_close(tensor, expected)
    torch.testing.assert_close(images.to_tensor(pixels, flip=True), expected.flip(-1))
