"""A small web server for tests: files with ETags and ranges, and the ways in which real servers fail."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

_BLOCK = 16384


@dataclass
class Site:
    """What is served, by path, and what goes wrong with it."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    break_after: dict[str, list[int]] = field(default_factory=dict)  # the connection is cut after so many bytes, once for each number
    stall_after: dict[str, int] = field(default_factory=dict)  # nothing more comes after so many bytes, until `released`
    status: dict[str, int] = field(default_factory=dict)  # this answer in place of the file
    ranges: bool = True
    tags: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)  # path and Range header of each request
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def paths(self) -> list[str]:
        """The paths that were asked for since the last look."""
        found = [path for path, _ in self.asked]
        self.asked.clear()
        return found


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Tests look at `asked`, not at a log."""

        def do_GET(self) -> None:  # noqa: N802 the base class's name
            path = unquote(self.path).partition("?")[0]
            wanted = self.headers.get("Range", "")
            site.asked.append((path, wanted))
            data = site.files.get(path)
            status = site.status.get(path, 200 if data is not None else 404)
            if status != 200 or data is None:
                self._answer(status, b"no such file\n", {})
                return
            tag = '"' + hashlib.sha256(data).hexdigest()[:16] + '"'
            headers = {"ETag": tag} if site.tags else {}
            headers["Content-Type"] = "text/html" if path.endswith("/") else "application/octet-stream"
            start = int(match[1]) if (match := re.match(r"bytes=(\d+)-", wanted)) and site.ranges else 0
            if start and self.headers.get("If-Range", tag) != tag:
                start = 0
            if start >= len(data) > 0:
                self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            elif start:
                self._answer(206, data[start:], {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, path)
            else:
                self._answer(200, data, headers, path)

        def _answer(self, status: int, data: bytes, headers: dict[str, str], path: str = "") -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            cuts = site.break_after.get(path, [])
            end = cuts.pop(0) if cuts else len(data)
            with suppress(OSError):  # the other side may be gone
                for at in range(0, min(end, len(data)), _BLOCK):
                    if at >= site.stall_after.get(path, len(data) + 1):
                        site.stalled.set()
                        site.released.wait()
                        break
                    self.wfile.write(data[at : min(at + _BLOCK, end)])
                self.wfile.flush()
            if end < len(data) or site.released.is_set():
                self.close_connection = True

    return Handler


@contextmanager
def serving() -> Iterator[Site]:
    """A server on a free port of this machine, while the block runs."""
    site = Site("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.released.set()
        server.shutdown()
        server.server_close()
