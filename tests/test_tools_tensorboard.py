"""`tensorboard` and its script: the viewer starts on this machine alone, on the first free port, and says where."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest

from engine.__main__ import main
from engine.errors import UserError
from engine.tools import tensorboard


def test_the_viewer_answers_on_the_next_free_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    logs = tmp_path / "記錄 logs"
    logs.mkdir()
    said: list[str] = []
    answers: list[int] = []

    def look() -> None:
        address = said[0].partition(" at ")[2].split()[0]
        with urllib.request.urlopen(address, timeout=30) as answer:
            answers.append(answer.status)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        tensorboard.run(logs, port, said.append, browser=False, wait=look)
    assert answers == [200]
    (line,) = said
    assert str(logs) in line and "http://127.0.0.1:" in line and f":{port}/" not in line


def test_the_last_port_has_none_behind_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 65535))
        taken.listen()
        with pytest.raises(UserError, match="the port 65535 is taken"):
            tensorboard.run(tmp_path, 65535, print, browser=False, wait=lambda: None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--logdir", "nowhere"], "nowhere: there is no folder of logs here yet"),
        (["nowhere"], "nowhere: there is no folder of logs here yet"),
        (["--port", "six"], "--port: `six` is not a whole number"),
        (["--prot", "6006"], "--prot: unknown option. Did you mean `--port`?"),
        (["a", "b"], "b: --logdir takes one value, and that is a already"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tensorboard", *words]) == 1
    assert said in capsys.readouterr().err
