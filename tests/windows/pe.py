"""What a Windows program file asks of others and offers to them: the import and export tables of a PE file, by its published format."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_EXPORTS, _IMPORTS = 0, 1  # places in the table of data directories
_BY_NUMBER = 1 << 63  # an import without a name


@dataclass(frozen=True)
class Section:
    """Where a part of the file lies in memory."""

    address: int
    length: int
    offset: int


class Image:
    """A 64-bit PE file, read whole."""

    def __init__(self, path: Path) -> None:
        self._data = Path(path).read_bytes()
        header = self._number("<I", 0x3C)
        if self._data[:2] != b"MZ" or self._data[header : header + 4] != b"PE\0\0" or self._number("<H", header + 24) != 0x20B:
            raise ValueError(f"{path} is no 64-bit Windows program")
        count, optional = self._number("<H", header + 6), self._number("<H", header + 20)
        self._directories = header + 24 + 112
        first = header + 24 + optional
        self._sections = []
        for number in range(count):
            virtual, address, raw, offset = struct.unpack_from("<4I", self._data, first + 40 * number + 8)
            self._sections.append(Section(address, max(virtual, raw), offset))

    def imports(self) -> dict[str, set[str]]:
        """Library (lower case) -> the names wanted of it; those wanted by number are left out."""
        found: dict[str, set[str]] = {}
        at = self._directory(_IMPORTS)
        while at and (name := self._number("<I", at + 12)):
            table = self._number("<I", at) or self._number("<I", at + 16)
            wanted = found.setdefault(self._text(name).lower(), set())
            place = self._offset(table)
            while entry := self._number("<Q", place):
                if not entry & _BY_NUMBER:
                    wanted.add(self._text((entry & 0x7FFFFFFF) + 2))
                place += 8
            at += 20
        return found

    def exports(self) -> set[str]:
        """The names offered."""
        at = self._directory(_EXPORTS)
        if not at:
            return set()
        count, names = self._number("<I", at + 24), self._offset(self._number("<I", at + 32))
        return {self._text(self._number("<I", names + 4 * number)) for number in range(count)}

    def _directory(self, number: int) -> int:
        address = self._number("<I", self._directories + 8 * number)
        return self._offset(address) if address else 0

    def _offset(self, address: int) -> int:
        for section in self._sections:
            if section.address <= address < section.address + section.length:
                return address - section.address + section.offset
        raise ValueError(f"no section holds address {address:#x}")

    def _text(self, address: int) -> str:
        start = self._offset(address)
        return self._data[start : self._data.index(b"\0", start)].decode("ascii")

    def _number(self, form: str, at: int) -> int:
        return int(struct.unpack_from(form, self._data, at)[0])
