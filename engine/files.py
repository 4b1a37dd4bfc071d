"""Files that are never half written.

A temporary file is written, checked, and moved into place. What refuses to be read or written is explained; content hashes are here too.

Standard library only, so that commands which touch no tensor stay quick.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from engine.errors import UserError

_BUSY_SECONDS = 20.0  # an antivirus or OneDrive holds a fresh file for a moment; longer than this is a real lock
_LONGEST_PATH = 259 if os.name == "nt" else 4095  # characters; a PC may be set to more, and then refuses nothing


def replace(source: Path, target: Path) -> None:
    """Move `source` onto `target` atomically, waiting while Windows says that another program holds the target.

    Raises UserError when it stays busy. Antivirus and cloud folders hold fresh files for seconds.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while (error := _replaced(source, target)) is not None:
        if os.name != "nt" or time.monotonic() > deadline:
            raise _write_error(target, error) from error
        time.sleep(0.25)


def _replaced(source: Path, target: Path) -> PermissionError | None:
    """Try once; the refusal, where there was one."""
    try:
        os.replace(source, target)
    except PermissionError as error:
        return error
    return None


@contextlib.contextmanager
def writing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; when the block ends well, the file is flushed to disk and moved into place.

    When it does not, the temporary file is removed and an old `target` is left as it was.
    Raises UserError for a read-only folder or a full disk.
    """
    target = Path(target)
    partial = _partial(target)
    try:
        with explained(target):
            if is_there(target.parent) and not target.parent.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent))
            target.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            with open(partial, "rb+") as handle:
                os.fsync(handle.fileno())
            replace(partial, target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _partial(target: Path) -> Path:
    """The temporary name of a file under way, which no other process or thread uses."""
    return target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.part")


def require_name(target: Path) -> None:
    """Raise UserError where `writing` could not make a file of this name. Found out by making one, which is removed again."""
    partial, made = _partial(target), not target.parent.exists()
    try:
        with explained(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.touch()
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
        if made:
            with contextlib.suppress(OSError):
                target.parent.rmdir()


@contextlib.contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `target` into a UserError; FileExistsError passes, for callers that expect it."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise _write_error(target, error) from error


def require_space(folder: Path, needed: int) -> None:
    """Raise UserError where the disk that holds `folder` has less than `needed` bytes free. A disk that reports no size passes."""
    usage = shutil.disk_usage(folder)
    if usage.total and usage.free < needed:
        raise UserError(
            f"this disk has {usage.free / 2**20:,.1f} MiB free, and {needed / 2**20:,.1f} MiB are needed",
            "free some space, or choose another folder (`output_dir`)",
            where=str(folder),
        )


def is_there(path: Path) -> bool:
    """Whether there is a file or folder of that name; no for a name too long to be one, at which `Path.exists` raises."""
    return os.path.exists(path)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to read `path` into a UserError."""
    try:
        yield
    except OSError as error:
        hint = "check the file's rights and the disk; on Windows close the program that has it open"
        raise UserError(f"this cannot be read ({error.strerror or error})", hint, where=str(path)) from error


def require_writable(folder: Path) -> None:
    """Make the folder. Raises UserError where nothing can be written into it."""
    if is_there(folder) and not folder.is_dir():
        raise UserError("this is a file, and a folder is needed", "choose another folder", where=str(folder))
    probe = folder / f".{os.getpid()}.part"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text with LF line ends, atomically."""
    write_bytes(target, text.encode("utf-8"))


def write_bytes(target: Path, data: bytes) -> None:
    """Write `data` atomically."""
    with writing(target) as partial:
        partial.write_bytes(data)


def write_json(target: Path, value: object) -> None:
    """Write a JSON value atomically, readable and in UTF-8."""
    write_text(target, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def _write_error(target: Path, error: OSError) -> UserError:
    """The write failure as something a person can act on."""
    if error.errno == errno.ENOSPC or getattr(error, "winerror", 0) == 112:
        return UserError("the disk is full; the file was not written", "free some space and run again", where=str(target))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(
            "this place cannot be written to",
            "choose another folder (`output_dir`, `cache_dir`), or allow writing; on Windows close the program that has the file open",
            where=str(target),
        )
    if _is_too_long(target, error):
        return UserError(
            f"this name is too long for the system: {len(target.name)} characters, {len(os.path.abspath(target))} with its folder",
            "choose a shorter name (`output_name`), or a folder whose path is shorter",
            where=f"{str(target)[:80]}...",
        )
    return UserError(f"the file could not be written ({error.strerror or error})", "check the folder and the disk", where=str(target))


def _is_too_long(target: Path, error: OSError) -> bool:
    """Whether the name is what the system refused. Windows says of a path that is too long that it does not exist."""
    if error.errno == errno.ENAMETOOLONG or getattr(error, "winerror", 0) == 206:
        return True
    return error.errno == errno.ENOENT and len(os.path.abspath(_partial(target))) > _LONGEST_PATH


def sha256(path: Path, start: int = 0) -> str:
    """Hex SHA-256 of the file from byte `start` on."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        handle.seek(start)
        while block := handle.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
