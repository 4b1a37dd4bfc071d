"""What a file is by its first bytes. So a message can name what is no picture for us.

A table of patterns and nothing else: no decoder is asked, and no program is started. The marks are those of the formats' specifications.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_LOOKED_AT = 4096  # bytes; marks stand at the beginning, only those of web pages and drawings may come a little later


@dataclass(frozen=True)
class Kind:
    """One kind of file. `is_picture` tells a picture of a kind that could be saved as another from what is none."""

    name: str  # with its article, as a sentence needs it
    remedy: str
    is_picture: bool
    format: str = ""  # Pillow's name, of the kinds that are read where Pillow can


def of(raw: bytes) -> Kind | None:
    """What these bytes are the beginning of; None where no mark is known."""
    head = raw[:_LOOKED_AT].removeprefix(codecs.BOM_UTF8)
    for pattern, kind in _TABLE:
        if pattern.match(head):
            return kind
    return _TEXT if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    """Whether this is the beginning of a text in UTF-8; its last letter may be cut."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(letter.isprintable() or letter.isspace() for letter in text)


def _picture(name: str, pattern: bytes, form: str = "") -> tuple[re.Pattern[bytes], Kind]:
    return re.compile(pattern, re.DOTALL), Kind(name, "save it as PNG or JPEG", True, form)


def _other(name: str, remedy: str, pattern: bytes) -> tuple[re.Pattern[bytes], Kind]:
    return re.compile(pattern, re.DOTALL | re.IGNORECASE), Kind(name, remedy, False)


_AWAY = "take it out of the folder"
_UNPACK = "unpack it, and take the archive out of the folder"
_FRAMES = "take it out of the folder, or save single frames of it as PNG or JPEG"
_PAGE = "download the picture itself: the page about it was saved"
_TEXT = Kind("text", _AWAY, False)

# The first row that fits is taken. A container of the ISO kind (`ftyp`) is named by its first brand.
_TABLE: tuple[tuple[re.Pattern[bytes], Kind], ...] = (
    _picture("a PNG", rb"\x89PNG\r\n\x1a\n", "PNG"),
    _picture("a JPEG", rb"\xff\xd8\xff", "JPEG"),
    _picture("a WEBP", rb"RIFF.{4}WEBP", "WEBP"),
    _picture("a BMP", rb"BM.{4}\0{4}", "BMP"),
    _picture("an AVIF", rb".{4}ftypavi[fs]", "AVIF"),
    _picture("a JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
    _picture("a GIF", rb"GIF8[79]a"),
    _picture("a JPEG XR", rb"II\xbc\x01"),
    _picture("a TIFF (or a camera's raw file)", rb"II[*+]\0|MM\0[*+]"),
    _picture("a camera's raw file", rb".{4}ftypcrx |FUJIFILMCCD-RAW"),
    _picture("a HEIC picture (as phones take them)", rb".{4}ftyp(hei[cxms]|hev[cxms]|mif[12]|msf1)"),
    _picture("a JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    _picture("a Photoshop file (PSD)", rb"8BP[SB]"),
    _picture("a GIMP file (XCF)", rb"gimp xcf "),
    _picture("a Clip Studio file", rb"CSFCHUNK"),
    _picture("a PostScript drawing (EPS)", rb"\x04?%!PS|\xc5\xd0\xd3\xc6"),
    _picture("a PDF document", rb"%PDF-"),
    _picture("a Windows metafile (WMF)", rb"\xd7\xcd\xc6\x9a|[\x01\x02]\0\x09\0\0[\x01\x03]"),
    _picture("a Windows metafile (EMF)", rb"\x01\0\0\0.{36} EMF"),
    _picture("an SVG drawing", rb"\s*<(svg|(\?xml|!--|!DOCTYPE svg).*<svg)[\s>]"),
    _picture("a Windows icon (ICO)", rb"\0\0\x01\0[^\0]\0"),
    _picture("a macOS icon (ICNS)", rb"icns"),
    _picture("a texture (DDS)", rb"DDS \x7c"),
    _picture("a QOI", rb"qoif"),
    _picture("a PPM", rb"P[1-7]\s"),
    _picture("an OpenEXR", rb"v/1\x01"),
    _picture("a Radiance HDR", rb"#\?(RADIANCE|RGBE)"),
    _other("a web page", _PAGE, rb"\s*<(!doctype html|html|head|body|script|!--.*<html)"),
    _other("an XML file", _AWAY, rb"\s*<\?xml\s"),
    _other("a video", _FRAMES, rb"\x1aE\xdf\xa3|RIFF.{4}AVI |FLV\x01|\0\0\x01[\xba\xb3]|.{4}(ftyp.{4}|moov|mdat)"),
    _other("a sound", _AWAY, rb"RIFF.{4}WAVE|ID3[\x02-\x04]|OggS|fLaC"),
    _other("a ZIP archive, or a document or checkpoint made as one", _UNPACK, rb"PK(\x03\x04|\x05\x06|\x07\x08)"),
    _other("a 7z archive", _UNPACK, rb"7z\xbc\xaf'\x1c"),
    _other("a RAR archive", _UNPACK, rb"Rar!\x1a\x07"),
    _other("a gzip archive", _UNPACK, rb"\x1f\x8b\x08"),
    _other("a tar archive", _UNPACK, rb".{257}ustar"),
    _other("a safetensors file, such as a model", _AWAY, rb'.{4}\0{4}\{"'),
    _other("a Windows program", "take it out of the folder, and do not start it", rb"MZ[\x00-\xff]\0"),
    _other("a Git LFS pointer", "fetch the picture itself (git lfs pull)", rb"version https://git-lfs"),
)
