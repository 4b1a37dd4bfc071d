"""One process with a pretended card for all tests of a worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pretended(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict]]:
    """`pretended(arguments=[...], capability=(8, 6))` runs a command of the engine on that card; `call="module:function"` a function."""
    if sys.platform != "linux":
        pytest.skip("tests/cuda/guard.py is for Linux")
    errors = tmp_path_factory.mktemp("pretended") / "stderr.txt"
    command = [sys.executable, "-s", "-X", "utf8", "-m", "tests.cuda.pretend"]
    with (
        errors.open("w", encoding="utf-8") as told,
        subprocess.Popen(
            command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told, text=True, encoding="utf-8"
        ) as server,
    ):
        requests, answers = server.stdin, server.stdout
        assert requests and answers

        def ask(**request: object) -> dict:
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            line = answers.readline()
            assert line, f"the process with the pretended card ended: {errors.read_text(encoding='utf-8')}"
            return json.loads(line)

        yield ask
        requests.close()
