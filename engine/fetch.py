"""Downloads that resume where they broke off.

They go into a `.part` file, by HTTP ranges. It is moved into place only with the right SHA-256.

Standard library, and pip's copy of truststore where there is one: it asks Windows itself whether a certificate is good, as a browser does.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from engine import __version__, files
from engine.errors import UserError

_BLOCK = 1 << 20  # bytes
_SILENCE = 60.0  # seconds without a byte after which a connection counts as broken
_TRIES = 5  # in a row without a new byte
_PAUSE = 3.0  # seconds before the second try, doubled each time
_LOOKS, _LINES = 0.5, 10  # seconds between two updates of a terminal; lines for a whole download elsewhere
_HERE = ("localhost", "127.0.0.1", "::1")  # this machine
_GONE = (401, 403, 404, 410, 451)  # answers that trying again does not change
_ANSWER = 16 << 20  # bytes of a page or an answer that are read
NETWORK = (OSError, http.client.HTTPException)  # what a connection raises; urllib's URLError is an OSError

Progress = Callable[[int, int | None], None]  # bytes here, bytes in all where the server tells


@dataclass(frozen=True)
class Expected:
    """What a file must be. Where nothing is known of it, it is only told what it was."""

    sha256: str = ""
    size: int = 0  # bytes exactly, 0: unknown
    at_least: int = 0  # bytes: an error page in a file's place is smaller


def nothing(here: int, total: int | None) -> None:
    """No progress is shown."""


class Shown:
    """Shows how far a download is: one line that changes in a terminal, else a line for each tenth."""

    def __init__(self, say: Callable[[str], None], indent: str = "") -> None:
        self._say = say
        self._indent = indent
        self._live = sys.stdout.isatty()
        self._next = 0.0  # a time in a terminal, a share elsewhere

    def __call__(self, here: int, total: int | None) -> None:
        done = total is not None and here >= total
        text = f"{self._indent}{here / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else f"{self._indent}{here / 1e6:,.0f} MB"
        if self._live:
            if done or time.monotonic() >= self._next:
                self._next = time.monotonic() + _LOOKS
                sys.stdout.write(f"\r{text}" + ("\n" if done else ""))
                sys.stdout.flush()
        elif total and (done or here / total >= self._next):
            self._next = (here * _LINES // total + 1) / _LINES
            self._say(text)


def fetch(address: str, target: Path, expected: Expected = Expected(), progress: Progress = nothing, *, pause: float = _PAUSE) -> str:
    """Download `address` to `target`, and return the file's SHA-256.

    What an earlier call left in `<target>.part` is resumed, if the server still has the same file. Proxies: `https_proxy` and its
    kin, else Windows' own settings. Raises UserError where there is no network, no such file, or the wrong content (which is removed).
    """
    target = Path(target)
    partial = target.with_name(f"{target.name}.part")
    with files.explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _complete(address, partial, progress, pause)
        digest = check(partial, address, expected)
        files.replace(partial, target)
    _note_of(partial).unlink(missing_ok=True)
    return digest


def check(path: Path, origin: str, expected: Expected) -> str:
    """The file's SHA-256. Raises UserError, and removes the file, where it is not what was expected."""
    size, digest = path.stat().st_size, files.sha256(path)
    wrong = ""
    if expected.at_least and size < expected.at_least:
        wrong = f"it has {size:,} bytes, and at least {expected.at_least:,} were expected"
    elif expected.size and size != expected.size:
        wrong = f"it has {size:,} bytes, and {expected.size:,} were expected"
    elif expected.sha256 and digest != expected.sha256.lower():
        wrong = f"its SHA-256 is {digest}, and {expected.sha256.lower()} was expected"
    if wrong:
        path.unlink()
        _note_of(path).unlink(missing_ok=True)
        hint = "run again; if this stays, the source is bad: use another"
        raise UserError(f"not the right file: {wrong}; it was removed", hint, where=origin)
    return digest


def text(address: str, limit: int = _ANSWER) -> str:
    """A page or an answer of at most `limit` bytes as text. Raises UserError where it cannot be had."""
    try:
        with _open(address, {}) as answer:
            return answer.read(limit).decode("utf-8", errors="replace")
    except NETWORK as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise refusal(address, error) from error


def post(address: str, body: bytes, headers: dict[str, str], *, timeout: float) -> bytes:
    """What a server answers to `body`, within `timeout` seconds without a byte. It goes to no other address than this one.

    Raises those of NETWORK, and UserError where this is no web address.
    """
    with _open(address, headers, body, timeout, _NoDetour()) as answer:
        return answer.read(_ANSWER)


class _NoDetour(urllib.request.HTTPRedirectHandler):
    """Refuses a redirection: what is sent, and the key with it, is meant for one server."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        """No other request is made."""
        return


class _Broken(Exception):
    """The connection failed, and trying again may help. Whatever the disk refuses stays an OSError."""


def _complete(address: str, partial: Path, progress: Progress, pause: float) -> None:
    """Get all bytes into `partial`, trying again while the connection breaks."""
    failures = 0
    while True:
        before = _size(partial)
        try:
            if _more(address, partial, progress):
                return
            reason: Exception = http.client.IncompleteRead(b"")
        except _Broken as broken:
            reason = broken.args[0]
        failures = 0 if _size(partial) > before else failures + 1
        if failures >= _TRIES:
            raise refusal(address, reason)
        time.sleep(pause * 2 ** max(0, failures - 1))


def _more(address: str, partial: Path, progress: Progress) -> bool:
    """One connection's worth; whether the file is complete now."""
    here = _size(partial)
    mark = _read_note(partial) if here else ""
    try:
        answer = _open(address, {"Range": f"bytes={here}-", "If-Range": mark} if mark else {})
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _GONE:
            raise refusal(address, error) from error
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _Broken(error) from error
        if error.headers.get("Content-Range", "") == f"bytes */{here}":
            return True  # nothing was left to get
        partial.unlink()
        return False
    except NETWORK as error:
        raise _Broken(error) from error
    with answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT and _starts_at(answer.headers.get("Content-Range", "")) == here
        with open(partial, "ab" if goes_on else "wb") as handle:
            if not goes_on:
                here = 0
                files.write_json(_note_of(partial), {"version": _mark(answer.headers)})
            length = answer.headers.get("Content-Length")
            total = here + int(length) if length else None
            here = _copy(answer, handle, here, total, progress)
    return total is None or here == total


def _copy(answer: http.client.HTTPResponse, handle: BinaryIO, here: int, total: int | None, progress: Progress) -> int:
    """Write the answer's bytes; how many the file has then."""
    progress(here, total)
    while block := _read(answer):
        handle.write(block)
        here += len(block)
        progress(here, total)
    return here


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read1(_BLOCK)  # what has come, so that little is lost where the program is killed
    except NETWORK as error:
        raise _Broken(error) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _starts_at(content_range: str) -> int:
    match = re.match(r"bytes (\d+)-", content_range)
    return int(match[1]) if match else -1


def _mark(headers: http.client.HTTPMessage) -> str:
    """What the server calls this version of the file: a strong ETag, else its date; empty where it tells neither."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _read_note(partial: Path) -> str:
    """The version of the file that the part is of; empty where it is not known, and then the download starts anew."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(_note_of(partial).read_text(encoding="utf-8"))["version"])
    return ""


def _context() -> ssl.SSLContext:
    try:
        from pip._vendor import truststore
    except ImportError:  # a Python without pip checks certificates in its own way
        return ssl.create_default_context()
    context: ssl.SSLContext = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return context


def _open(
    address: str, headers: dict[str, str], body: bytes | None = None, timeout: float = _SILENCE, *more: urllib.request.BaseHandler
) -> http.client.HTTPResponse:
    named = {"User-Agent": f"portable-lora-trainer/{__version__}", "Accept-Encoding": "identity", **headers}
    try:
        request = urllib.request.Request(address, body, named)
    except ValueError as error:
        raise UserError("this is no web address", "it begins with https://", where=address) from error
    handlers = list(more)
    if urlsplit(address).hostname in _HERE:
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy's own "localhost" is another machine
    if request.type == "https":
        handlers.append(urllib.request.HTTPSHandler(context=_context()))
    answer: http.client.HTTPResponse = urllib.request.build_opener(*handlers).open(request, timeout=timeout)
    return answer


def refusal(address: str, error: Exception) -> UserError:
    """A failed connection as something a person can act on."""
    host = re.sub(r"^(\w+://[^/]+)/.*$", r"\1", address)
    if isinstance(error, urllib.error.HTTPError):
        hints = {
            401: "there is no such page, or it needs an account: look at it in a browser",
            403: "this file needs an account or a licence to be accepted: download it in a browser",
            404: "check the address",
            407: "the proxy needs a name and a password",
        }
        hint = hints.get(error.code, "try again later, or use a mirror")
        return UserError(f"the server answers {error.code} {error.reason}", hint, where=address)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    why = str(reason) or type(reason).__name__
    hint = "check the internet connection and the proxy, then run again: it resumes where it stopped"
    return UserError(f"{host} cannot be reached, or the connection keeps breaking ({why})", hint, where=address)
