"""Runs commands on a pretended card (pretended.py).

`python -m tests.cuda.pretend [--capability 8.6] [--gib 12] [--count 1] MODULE ARGUMENTS...` runs a module as `python -m MODULE` does, and
prints the ledger afterwards: `... engine train --config FILE`, `... benchmarks.step sd15`, `... pytest -m gpu`.

Without a module it reads one JSON object a line, {"capability": [8, 6], "arguments": ["train", "--config", "FILE"]}, runs that
command of the engine, and answers with one: exit status, output, ledger. {"call": "module:function"} runs that function and answers with
its `result` too. The tests keep one such process: starting torch takes seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import runpy
import sys
import traceback

from tests.cuda import pretended


def main() -> int:
    """Run a module, or serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.cuda.pretend", description=__doc__, allow_abbrev=False)
    parser.add_argument("--capability", default="8.6")
    parser.add_argument("--gib", type=float, default=12.0)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("module", nargs="?")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.module is None:
        return serve()
    major, _, minor = args.capability.partition(".")
    pretended.install(pretended.Model((int(major), int(minor or 0)), args.gib, count=args.count))
    sys.argv = [args.module, *args.arguments]
    status: object = 0
    try:
        with pretended.Mode():
            runpy.run_module(args.module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
    print(json.dumps(ledger(), indent=1), file=sys.stderr)
    return status if isinstance(status, int) else int(status is not None)


def serve() -> int:
    """Answer requests until the input ends."""
    answers = sys.stdout
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
    return 0


def answer(request: dict) -> dict:
    """Run one of the engine's commands, or a function. `error` has the traceback of what is no exit."""
    pretended.install(pretended.Model(tuple(request.get("capability", (8, 6))), request.get("gib", 12.0), count=request.get("count", 1)))
    with pretended.Mode():
        return {**run(request["arguments"]), **ledger()} if "arguments" in request else call(request["call"])


def run(arguments: list[str]) -> dict:
    """Run one of the engine's commands in this process, on the card that there is."""
    from engine.__main__ import main as engine

    out = io.StringIO()
    status: object = None
    error = ""
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = engine(arguments)
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 whatever it is, the test must see it
        error = traceback.format_exc()
    return {"status": status, "output": out.getvalue(), "error": error}


def call(name: str) -> dict:
    """The result of a function without arguments, `module:function`."""
    module, _, function = name.partition(":")
    try:
        return {"result": getattr(importlib.import_module(module), function)(), "error": ""}
    except BaseException:  # noqa: BLE001 the same
        return {"result": None, "error": traceback.format_exc()}


def ledger() -> dict:
    """The ledger as JSON."""
    found = pretended.LEDGER
    return {
        "reads": {f"{name} at {place}": count for (name, place), count in found.reads.most_common()},
        "pageable": dict(found.pageable.most_common()),
        "pinned": found.pinned,
        "operations": found.operations.total(),
        "calls": dict(found.calls.most_common()),
    }


if __name__ == "__main__":
    sys.exit(main())
