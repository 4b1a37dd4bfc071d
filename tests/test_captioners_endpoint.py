"""Captions from a server of this machine that answers rightly, slowly, wrongly or not at all."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from engine.captioners.endpoint import Endpoint
from engine.errors import UserError

KEY = "sk-a-secret"


def answer(text: str | None) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


@dataclass
class Server:
    """What it answers, one after another and the last for ever, and what it was asked."""

    address: str = ""
    answers: list[tuple[int, bytes]] = field(default_factory=lambda: [(200, answer("a red square"))])
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    silent: threading.Event | None = None  # no answer before it is set


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Tests look at `asked`."""

        def do_GET(self) -> None:  # noqa: N802 the base class's name
            it.asked.append((self.path, {}, {}))
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers["Content-Length"]))
            it.asked.append((self.path, dict(self.headers), json.loads(body)))
            if it.silent:
                it.silent.wait()
            status, data = it.answers.pop(0) if len(it.answers) > 1 else it.answers[0]
            with suppress(OSError):
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **it.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        it.address = f"http://127.0.0.1:{http.server_address[1]}/v1"
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield it
        if it.silent:
            it.silent.set()
        http.shutdown()


def ask(server: Server, **options: Any) -> str:
    endpoint = Endpoint(server.address, "a-model", pause=0, **options)
    return endpoint.describe([endpoint.prepare(Image.new("RGB", (40, 30), "red"))], [7])[0]


def test_a_picture_goes_there_with_the_question_and_the_answer_comes_back(server: Server) -> None:
    server.answers = [(200, answer("  a red\n square "))]
    assert ask(server, prompt="What is it?", key=KEY, max_length=60, top_p=0.5, seeded=True) == "a red square"
    ((path, headers, body),) = server.asked
    text, image = body["messages"][0]["content"]
    kind, _, data = image["image_url"]["url"].partition(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(data))) as sent:
        assert (sent.format, sent.size) == ("JPEG", (40, 30))
    assert (path, headers["Authorization"], kind) == ("/v1/chat/completions", f"Bearer {KEY}", "data:image/jpeg")
    assert text == {"type": "text", "text": "What is it?"}
    assert {name: body[name] for name in ("model", "max_tokens", "top_p", "seed")} == {
        "model": "a-model", "max_tokens": 60, "top_p": 0.5, "seed": 7,
    }  # fmt: skip


def test_what_was_not_given_is_not_sent(server: Server) -> None:
    ask(server)
    ((_, headers, body),) = server.asked
    assert "Authorization" not in headers and set(body) == {"model", "messages", "stream"}


@pytest.mark.parametrize("end", ["", "/", "/chat/completions"])
def test_the_address_may_be_the_whole_one(server: Server, end: str) -> None:
    server.address += end
    ask(server)
    assert server.asked[0][0] == "/v1/chat/completions"


@pytest.mark.parametrize(("side", "size"), [(1024, (300, 200)), (150, (150, 100))])
def test_large_pictures_are_made_smaller(side: int, size: tuple[int, int]) -> None:
    made = Endpoint("http://127.0.0.1:1", "m", side=side).prepare(Image.new("RGB", (300, 200)))
    with Image.open(io.BytesIO(made)) as image:
        assert image.size == size


def test_a_proxy_is_not_asked_for_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ask(server) == "a red square"


@pytest.mark.parametrize("busy", [500, 503, 429])
def test_a_busy_server_is_asked_again(server: Server, busy: int) -> None:
    server.answers = [(busy, b"later"), (busy, b""), (200, answer("a cat"))]
    assert ask(server) == "a cat" and len(server.asked) == 3


def test_a_server_that_stays_busy_is_told(server: Server) -> None:
    server.answers = [(500, b"out of memory")]
    with pytest.raises(UserError, match=r"answers 500 .*: out of memory"):
        ask(server, tries=3)
    assert len(server.asked) == 3


def test_several_are_asked_at_once_and_come_in_order(server: Server) -> None:
    server.silent = threading.Event()
    endpoint = Endpoint(server.address, "m")
    pictures = [endpoint.prepare(Image.new("RGB", (8, 8), color)) for color in ("red", "green", "blue")]
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(endpoint.describe(pictures, [1, 2, 3])))
    thread.start()
    while len(server.asked) < 3:  # all three are there before one is answered
        threading.Event().wait(0.005)
    server.silent.set()
    thread.join()
    assert found == ["a red square"] * 3


@pytest.mark.parametrize(
    ("status", "data", "said"),
    [
        (401, b'{"error": "no key sk-a-secret"}', r"answers 401 .*: .*no key \(the key\)(.|\n)*--endpoint_key NAME"),
        (404, b"", r"answers 404 .*: \(nothing\)\nhint: .*`a-model`"),
        (413, b"too large", r"--endpoint_size"),
        (400, b"no pictures", r"400 .*: no pictures\nhint: .*takes pictures"),
        (307, b"", r"answers 307 (.|\n)*nothing is sent to another server"),
        (200, b"<html>It works!</html>", r"not that of an OpenAI-compatible server: <html>It works!"),
        (200, b"[]", "not that of"),
        (200, b'{"choices": []}', "not that of"),
        (200, b'{"choices": [{"message": {"content": ["a"]}}]}', "not that of"),
        (200, b"x" * 5000, r"x{300}\.\.\."),
    ],
)
def test_other_answers_stop_it_at_once(server: Server, status: int, data: bytes, said: str) -> None:
    server.answers = [(status, data)]
    server.headers = {"Location": f"{server.address}/elsewhere"} if status == 307 else {}
    with pytest.raises(UserError, match=said) as caught:
        ask(server, key=KEY)
    assert len(server.asked) == 1 and KEY not in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "  \n", "<think>a square</think>\n"])
def test_an_answer_without_text_is_no_caption(server: Server, text: str | None) -> None:
    server.answers = [(200, answer(text))]
    assert ask(server) == ""


def test_what_a_model_thinks_before_it_answers_is_no_caption(server: Server) -> None:
    server.answers = [(200, answer("<think>It is red.\nA square.</think>\n\na red square"))]
    assert ask(server) == "a red square"


def test_a_silent_server_is_told_with_the_time(server: Server) -> None:
    server.silent = threading.Event()
    with pytest.raises(UserError, match=r"no answer within 0.05 seconds\nhint: .*--endpoint_timeout"):
        ask(server, timeout=0.05, tries=2)
    assert len(server.asked) == 2


def test_no_server_is_told(server: Server) -> None:
    server.address = "http://127.0.0.1:9/v1"
    with pytest.raises(UserError, match=r"cannot be reached.*\nhint: is it running"):
        ask(server, tries=2)


@pytest.mark.parametrize(
    ("address", "key", "said"),
    [
        ("file:///etc/passwd", "", "is no web address"),
        ("127.0.0.1:1234", "", "is no web address"),
        ("http://me:word@host/v1", "", "more in it than a server"),
        ("https://host/v1?key=abc", "", "more in it than a server"),
        ("https://host/v1", "sk-a secret\n", "characters in it that no key has"),
    ],
)
def test_addresses_and_keys_are_looked_at_first(address: str, key: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        Endpoint(address, "m", key=key)
    assert "secret" not in str(caught.value)


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(Endpoint("https://host/v1", "m", key=KEY))
