"""The errors of a card and of full memory, in all their spellings.

A row of the table is a spelling; its kind is what is said of it. torch's own words are always passed on, and a cause that was not tested is
not named as certain. Classes of torch are known by their names, so that this imports nothing.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from engine.errors import UserError

_LESS = "{less}"  # in a hint: what takes less of the memory, by the settings of whoever asks
_LONGEST = 140  # characters of torch's words; what follows is advice for programmers
_DOCTOR = "`python -m engine doctor` says what there is of card, driver and torch"


@dataclass(frozen=True)
class Kind:
    """What is said of one kind of error."""

    told: str
    hint: str
    answers: bool = True  # whether the card can still give what lies in its memory
    of_card: bool = True  # False: the memory of the machine


FULL = Kind("the card's memory is full", _LESS)
PERHAPS_FULL = Kind(
    "a library of NVIDIA's could not work on the card, most often for want of memory", f"{_LESS}. If none of that helps: {_DOCTOR}"
)
MACHINE_FULL = Kind("this machine's memory is full", _LESS, of_card=False)
NO_PAGES = Kind(
    "Windows had no memory left for this program",
    "close other programs, or make Windows' paging file larger (System, Advanced system settings, Performance, Virtual memory)",
    of_card=False,
)
NO_KERNEL = Kind("this build of torch has nothing that runs on this card", f"{_DOCTOR}; another build of torch may have it", answers=False)
DRIVER = Kind("this build of torch and the card's driver do not go together", f"update the driver; {_DOCTOR}", answers=False)
GONE = Kind(
    "the card does not answer any more",
    "start again. If it happens again: restart the machine, update the driver, take back any overclocking, and look at the card's heat; "
    f"{_DOCTOR}. If it stays, report it with the run's log",
    answers=False,
)
OTHER = Kind(
    "the card reported an error",
    f"start again. If it happens again: update the driver; {_DOCTOR}. If it stays, report it with the run's log",
    answers=False,
)

_ROWS: tuple[tuple[str, Kind], ...] = (  # in lower case; the first that is found counts
    ("status_alloc_failed", FULL),  # CUBLAS_, CUDNN_, CUSOLVER_
    ("cuda out of memory", FULL),
    ("cuda error: out of memory", FULL),
    ("cuda driver error: out of memory", FULL),
    ("cublas_status_not_initialized", PERHAPS_FULL),
    ("cudnn_status_not_initialized", PERHAPS_FULL),
    ("cudnn_status_internal_error", PERHAPS_FULL),
    ("unable to find an engine", PERHAPS_FULL),  # FIND and GET, of cuDNN
    ("nvml_success == ", PERHAPS_FULL),  # torch asks NVML for the text of an error of full memory, and fails at that
    ("can't allocate memory", MACHINE_FULL),  # torch on the CPU under Linux
    ("not enough memory", MACHINE_FULL),  # and under Windows
    ("no kernel image is available", NO_KERNEL),
    ("device kernel image is invalid", NO_KERNEL),
    ("unsupported toolchain", DRIVER),
    ("driver version is insufficient", DRIVER),
    ("forward compatibility was attempted", DRIVER),
    ("unspecified launch failure", GONE),
    ("device-side assert", GONE),
    ("launch timed out and was terminated", GONE),
    ("illegal memory access", GONE),
    ("misaligned address", GONE),
    ("illegal instruction was encountered", GONE),
    ("uncorrectable ecc error", GONE),
    ("cuda error: unknown error", GONE),
    ("device lost", GONE),
    ("gpu is lost", GONE),
    ("fallen off the bus", GONE),
    ("cuda error", OTHER),
    ("cuda driver error", OTHER),
    ("cudnn_status_", OTHER),
    ("cudnn error", OTHER),
)
_CLASSES = {"OutOfMemoryError": FULL, "MemoryError": MACHINE_FULL, "AcceleratorError": OTHER}  # where the words say nothing
_PAGING_FILE_TOO_SMALL = 1455  # Windows' number, which safetensors puts in its text; the text itself is in the user's language
_LESS_OF_THE_MACHINE = "close other programs; text_cache_limit_mb bounds what encoded captions take"


class CardError(UserError):
    """An error of the card or of memory, explained."""

    def __init__(self, kind: Kind, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.kind = kind


def kind_of(error: BaseException) -> Kind | None:
    """What an error is of these; None for any other."""
    if isinstance(error, OSError):
        if getattr(error, "winerror", None) == _PAGING_FILE_TOO_SMALL or f"os error {_PAGING_FILE_TOO_SMALL}" in str(error):
            return NO_PAGES
        return MACHINE_FULL if error.errno == errno.ENOMEM else None
    if not isinstance(error, RuntimeError | MemoryError):
        return None
    text = str(error).lower()
    by_words = next((kind for words, kind in _ROWS if words in text), None)
    return by_words or next((_CLASSES[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in _CLASSES), None)


def explained(error: BaseException, less: str, *, on_card: bool) -> CardError | None:
    """The error as the user should read it; None where it is none of these.

    `less` is what to do for less memory where the run computes: on the card (`on_card`), or on the processor.
    """
    if isinstance(error, CardError):
        return error
    kind = kind_of(error)
    if kind is None:
        return None
    elsewhere = on_card and not kind.of_card  # what takes less of the card takes no less of the machine
    hint = kind.hint.replace(_LESS, _LESS_OF_THE_MACHINE if elsewhere else less)
    words = reported(error)
    return CardError(kind, f"{kind.told} (reported: {words})" if words else kind.told, hint)


def reported(error: BaseException) -> str:
    """What the error says of itself: its first line, and of that the first sentences.

    >>> reported(RuntimeError("CUDA error: unknown error\\nSearch for `cudaErrorUnknown' in the manual."))
    'CUDA error: unknown error'
    """
    first, *others = str(error).strip().partition("\n")[0].split(". ")
    for sentence in others:
        if len(first) + len(sentence) > _LONGEST:
            break
        first += f". {sentence}"
    return first.strip().rstrip(".")
