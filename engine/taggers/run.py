"""Runs a tagger in onnxruntime: on a DirectX 12 card, else on the processor."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.doctor import SET_UP
from engine.errors import UserError, cause
from engine.taggers import labels
from engine.taggers.labels import Labels
from engine.taggers.models import Tagger

CARD, PROCESSOR = "DmlExecutionProvider", "CPUExecutionProvider"
SHOWN = {CARD: "DirectML (the graphics card)", PROCESSOR: "the processor"}
_STEEPEST = 30.0  # logits beyond it are cut off before the sigmoid
_AGAIN = "download it again, or put another copy there"


class Session(Protocol):
    """What is used of an `onnxruntime.InferenceSession`."""

    def get_inputs(self) -> Sequence[Any]: ...
    def get_outputs(self) -> Sequence[Any]: ...
    def get_providers(self) -> Sequence[str]: ...
    def get_modelmeta(self) -> Any: ...
    def run(self, names: list[str], feed: dict[str, NDArray[np.float32]]) -> list[NDArray[Any]]: ...


Open = Callable[[Path, str], Session]  # an ONNX file and a provider


def available() -> tuple[str, ...]:
    """The providers that this machine's onnxruntime was built with, best first. Raises UserError where it cannot be imported."""
    try:
        import onnxruntime
    except (ImportError, OSError) as error:  # OSError: a library that it loads is missing or blocked
        hint = f"run {SET_UP} again; where that does not help, `python -m engine doctor` makes a report"
        raise UserError(f"the package cannot be imported ({cause(error)})", hint, where="onnxruntime") from error

    return tuple(name for name in (CARD, PROCESSOR) if name in onnxruntime.get_available_providers())


def open_session(path: Path, provider: str) -> Session:
    """A session of onnxruntime that runs on this provider and no other. Raises what onnxruntime raises where that cannot be."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # its builds for Windows would report what they do
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised; its warnings say nothing to a user
    if provider == CARD:
        options.enable_mem_pattern = False  # DirectML needs both
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    else:
        options.intra_op_num_threads = _threads()
    session: Session = onnxruntime.InferenceSession(str(path), options, providers=[provider], enable_fallback=0)
    if provider not in session.get_providers():
        raise RuntimeError(f"onnxruntime took {', '.join(session.get_providers())} in its place")
    return session


def _threads() -> int:
    """As many as the user allows numeric libraries, else as this process may use; onnxruntime itself counts those of the whole machine."""
    with contextlib.suppress(ValueError):
        return max(int(os.environ.get("OMP_NUM_THREADS", "")), 1)
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class Model:
    """A tagger that is ready to run. `provider` is what it really runs on, `batch` the only batch size that it takes (0: any).

    A card that does not start, fails, or gives numbers that are none is left for the processor, and `told` is called with the reason.
    Raises UserError where the file is no such model, or does not fit its labels.
    """

    def __init__(
        self, path: Path, row: Tagger, names: Labels | None, told: Callable[[str], None], *,
        providers: Sequence[str], opened: Open = open_session,
    ) -> None:  # fmt: skip
        self._path, self._row, self._told, self._open = path, row, told, opened
        self._left = list(providers)
        self._session = self._start()
        self._input, self.batch = _input(self._session, row, path)
        self._output = _output(self._session, row, path)
        self.labels = names if names is not None else self._own_labels()
        self._require_fit()

    @property
    def provider(self) -> str:
        """What the model runs on."""
        return self._left[0]

    def scores(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, ...] pictures, made ready -> [N, labels] scores from 0 to 1. N may be any number up to `batch`."""
        count = len(pictures)
        if self.batch and count < self.batch:
            pictures = np.concatenate([pictures, np.zeros((self.batch - count, *pictures.shape[1:]), np.float32)])
        raw = self._run(pictures)[:count]
        if raw.shape != (count, len(self.labels)):
            raise UserError(f"the model gives {list(raw.shape)} numbers for {len(self.labels)} labels", _AGAIN, where=str(self._path))
        return sigmoid(raw) if self._row.sigmoid else raw

    def _run(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the model gives, on the first provider that gives it."""
        while isinstance(given := self._tried(pictures), Exception):
            self._next(given, "run", "failed")
            self._session = self._start()
        return given

    def _tried(self, pictures: NDArray[np.float32]) -> NDArray[np.float32] | Exception:
        try:
            (given,) = self._session.run([self._output], {self._input: pictures})
            scores: NDArray[np.float32] = np.asarray(given, dtype=np.float32)
        except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own, one a cause
            return error
        return scores if np.isfinite(scores).all() else ArithmeticError("it gives numbers that are none")

    def _start(self) -> Session:
        """A session on the first provider that starts."""
        while isinstance(started := self._started(), Exception):
            self._next(started, "opened", "does not start")
        return started

    def _started(self) -> Session | Exception:
        try:
            return self._open(self._path, self.provider)
        except Exception as error:  # noqa: BLE001 - as above
            return error

    def _next(self, error: Exception, done: str, how: str) -> None:
        """Go to the next provider. Raises UserError where there is none."""
        if len(self._left) == 1:
            raise self._refused(error, done) from error
        failed = SHOWN.get(self._left.pop(0), "the first provider")
        self._told(f"{failed} {how} ({_first_line(error)}); {SHOWN.get(self.provider, self.provider)} is used, which is slower")

    def _refused(self, error: Exception, done: str) -> UserError:
        """Why the model cannot be used at all."""
        text, where = _first_line(error), str(self._path)
        data = [file.name for file in self._row.files[1:] if not (self._path.parent / file.name).is_file()]
        if "external data" in text.lower() or ".data" in text or data:
            lacking = ", ".join(data) or "the file that ends in .data"
            message = f"the model's weights are in a second file, which is missing ({lacking})"
            return UserError(message, "put it beside this one", where=where)
        return UserError(f"this model cannot be {done} ({text})", _AGAIN, where=where)

    def _own_labels(self) -> Labels:
        text = self._session.get_modelmeta().custom_metadata_map.get("tags", "")
        return labels.of_metadata(text, str(self._path))

    def _require_fit(self) -> None:
        """Raise UserError where the file says that it has another number of outputs than there are labels."""
        last = next(output for output in self._session.get_outputs() if output.name == self._output).shape[-1]
        if isinstance(last, int) and last != len(self.labels):
            source = self._row.labels or "its metadata"
            message = f"the model gives {last:,} numbers, and {source} has {len(self.labels):,} labels"
            raise UserError(message, "get both from the same page and version", where=str(self._path))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits -> probabilities."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -_STEEPEST, _STEEPEST))), dtype=np.float32)


def _input(session: Session, row: Tagger, path: Path) -> tuple[str, int]:
    """The name of the input and its fixed batch size, 0 where it takes any. Raises UserError where the input is another than the row's."""
    given = session.get_inputs()
    side = row.input.size
    wanted = [side, side, 3] if row.input.layout == "NHWC" else [3, side, side]
    first = given[0]
    known = [size if isinstance(size, int) else None for size in first.shape]
    fits = len(given) == 1 and len(known) == 4 and all(a in (None, b) for a, b in zip(known[1:], wanted, strict=True))
    if not fits or "float" not in str(first.type):
        shape = f"[N, {', '.join(map(str, wanted))}]"
        message = f"this is another model than {row.name}: it takes {first.type} {first.shape}, and that one {shape}"
        raise UserError(message, "name the right tagger with --repo_id, or download this one again", where=str(path))
    return str(first.name), known[0] or 0


def _output(session: Session, row: Tagger, path: Path) -> str:
    """The name of the output that counts. Raises UserError where there is none."""
    there = [str(output.name) for output in session.get_outputs()]
    if isinstance(row.output, str) and row.output in there:
        return row.output
    if isinstance(row.output, int) and row.output < len(there):
        return there[row.output]
    wanted = f"`{row.output}`" if isinstance(row.output, str) else f"number {row.output + 1}"
    hint = "name the right tagger with --repo_id, or download this one again"
    raise UserError(f"this is another model than {row.name}: it has no output {wanted}, only {', '.join(there)}", hint, where=str(path))


def _first_line(error: Exception) -> str:
    """What an exception says, in one line that is not long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
