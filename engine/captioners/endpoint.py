"""Captions from an OpenAI-compatible server that the user names.

Each picture goes there as a JPEG inside the request. Without an address nothing is ever sent.
"""

from __future__ import annotations

import base64
import io
import json
import re
import time
import urllib.error
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from engine import fetch
from engine.errors import UserError

PROMPT = "Describe this picture in one sentence."
_PATH = "chat/completions"
_BUSY = (408, 425, 429, 500, 502, 503, 504, 529)  # answers that may be another one a moment later
_LONGEST_PAUSE = 60.0  # seconds
_THOUGHTS = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)  # what a reasoning model writes before its answer
_SHOWN = 300  # characters of an answer that are told


@dataclass(frozen=True)
class Endpoint:
    """A server, and what it is asked of each picture. Lengths in tokens, None: the server's own."""

    address: str  # http://127.0.0.1:1234/v1
    model: str  # empty: the server chooses
    prompt: str = PROMPT
    key: str = field(default="", repr=False)  # sent to this address alone, and shown nowhere
    timeout: float = 120.0  # seconds without a byte
    tries: int = 4
    pause: float = 2.0  # seconds before the second try, doubled each time
    side: int = 1024  # pixels of the longer side of what is sent; smaller pictures stay as they are
    seeded: bool = False  # some servers refuse a request that names a seed
    max_length: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        """Raise UserError for what is no web address, or has a name and a password in it."""
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"`{self.address}` is no web address", "for example http://127.0.0.1:1234/v1", where="--endpoint")
        if parts.username or parts.password or parts.query:
            hint = "put the key into an environment variable, and give that variable's name: --endpoint_key NAME"
            raise UserError("this address has more in it than a server and a path", hint, where="--endpoint")
        if not re.fullmatch(r"[!-~]*", self.key):
            raise UserError(
                "the key has characters in it that no key has", "look for a space or a line break in it", where="--endpoint_key"
            )

    @property
    def url(self) -> str:
        """Where requests go."""
        given = self.address.rstrip("/")
        return given if given.endswith(f"/{_PATH}") else f"{given}/{_PATH}"

    def prepare(self, picture: Image.Image) -> bytes:
        """A picture as the JPEG that is sent; may run in a thread."""
        small = picture.copy()
        small.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=92)
        return stream.getvalue()

    def describe(self, pictures: Sequence[bytes], seeds: Sequence[int]) -> list[str]:
        """A caption for each picture, empty where the server gives none; all are asked for at once. Raises UserError where it fails."""
        pool = ThreadPoolExecutor(len(pictures), thread_name_prefix="endpoint")
        try:
            return list(pool.map(self._caption, pictures, seeds))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _caption(self, picture: bytes, seed: int) -> str:
        raw = self._ask(json.dumps(self._request(picture, seed)).encode("utf-8"))
        try:
            content = json.loads(raw)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise self._no_caption(raw) from error
        if content is not None and not isinstance(content, str):
            raise self._no_caption(raw)
        return " ".join(_THOUGHTS.sub("", content or "").split())

    def _no_caption(self, raw: bytes) -> UserError:
        told = f"the answer is not that of an OpenAI-compatible server: {self._shown(raw)}"
        return UserError(told, self._check(), where=self.url)

    def _request(self, picture: bytes, seed: int) -> dict[str, Any]:
        image = f"data:image/jpeg;base64,{base64.b64encode(picture).decode('ascii')}"
        parts = [{"type": "text", "text": self.prompt}, {"type": "image_url", "image_url": {"url": image}}]
        limits = {"max_tokens": self.max_length, "top_p": self.top_p, "seed": seed % 2**31 if self.seeded else None}
        given = {name: value for name, value in limits.items() if value is not None}
        named = {"model": self.model} if self.model else {}
        return {**named, "messages": [{"role": "user", "content": parts}], "stream": False, **given}

    def _ask(self, body: bytes) -> bytes:
        """The answer to a request, tried again while the server is busy or cannot be reached."""
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        for number in range(self.tries):
            try:
                return fetch.post(self.url, body, headers, timeout=self.timeout)
            except urllib.error.HTTPError as error:
                refusal, asked = self._refused(error), _seconds(error.headers.get("Retry-After"))
                if error.code not in _BUSY:
                    raise refusal from error
            except fetch.NETWORK as error:
                refusal, asked = self._unreached(error), 0.0
            if number + 1 < self.tries:
                time.sleep(min(max(self.pause * 2**number, asked), _LONGEST_PAUSE))
        raise refusal

    def _refused(self, error: urllib.error.HTTPError) -> UserError:
        """An answer other than 200, with what the server says of it."""
        with error:
            said = self._shown(error.read(1 << 16))
        hints = {
            401: "it needs a key, or another one: --endpoint_key NAME, where NAME is the environment variable that holds it",
            403: "the key does not allow this",
            404: f"check the address, and the model: {self._model()}",
            413: "send smaller pictures: --endpoint_size",
        }
        moved = "give the address that it names: nothing is sent to another server than yours" if 300 <= error.code < 400 else ""
        hint = moved or hints.get(error.code, self._check() if error.code < 500 else "look at the server's own log, then run again")
        return UserError(f"the server answers {error.code} {error.reason}: {said}", hint, where=self.url)

    def _unreached(self, error: Exception) -> UserError:
        why = str(getattr(error, "reason", error)) or type(error).__name__
        slow = isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)
        if slow:
            hint = "allow more with --endpoint_timeout, or send fewer at once (--batch_size)"
            return UserError(f"no answer within {self.timeout:g} seconds", hint, where=self.url)
        return UserError(f"the server cannot be reached, or the connection breaks ({why})", "is it running? then run again", where=self.url)

    def _shown(self, raw: bytes) -> str:
        """The beginning of an answer, in one line and without the key."""
        text = " ".join(raw.decode("utf-8", errors="replace").split())
        text = text.replace(self.key, "(the key)") if self.key else text
        return text if 0 < len(text) <= _SHOWN else f"{text[:_SHOWN]}..." if text else "(nothing)"

    def _check(self) -> str:
        return f"check the address, and that the model takes pictures: {self._model()}"

    def _model(self) -> str:
        return f"`{self.model}`" if self.model else "--endpoint_model NAME, since none is named"


def _seconds(header: str | None) -> float:
    """What a Retry-After header says; 0 where it names a date, or nothing."""
    return float(header) if header and header.strip().isdigit() else 0.0
