"""Lets a torch without CUDA run backward passes over tensors that say `cuda`.

Two things of libtorch stand in the way where no CUDA library has registered itself. There is no device guard for the type CUDA: the first
node of a graph ends the process ("PyTorch is not linked with support for cuda devices"). And ATen's CUDA hooks say that there is no
accelerator ("Cannot access accelerator device when none is available"). FakeTensorMode mends the first by itself, only in a CUDA build.

Here a guard that counts no card is registered, which torch replaces by c10's own FakeGuardImpl<CUDA>. Three answers of the hooks object
are changed. Their places in its vtable are read from the headers in torch's wheel.

It must run before the process's first backward pass: autograd counts the devices then. Linux only, and only for tests: nothing can be
computed on this device. `tests/cuda/test_cuda_guard.py` says when torch has changed.
"""

from __future__ import annotations

import ctypes
import pathlib
import re

import torch

GUARDS = "_ZN3c104impl26device_guard_impl_registryE"  # c10::impl::device_guard_impl_registry
HOOKS = "_ZN2at6detail12getCUDAHooksEv"  # at::detail::getCUDAHooks()
ANSWERS = {"isBuilt": True, "hasCUDA": True, "hasPrimaryContext": False}
_CUDA = 1  # c10::DeviceType::CUDA
_KEEP: list[object] = []  # what C++ points to must live as long as the process


class Changed(RuntimeError):
    """Torch is not built as this file expects."""


def slots() -> list[str]:
    """The virtual methods of CUDAHooksInterface, in the order of its vtable (Itanium ABI: a destructor takes two places)."""
    found = ["~", "~"]
    for name in ("AcceleratorHooksInterface", "CUDAHooksInterface"):
        header = pathlib.Path(torch.__file__).parent / f"include/ATen/detail/{name}.h"
        if not header.is_file():
            raise Changed(f"torch {torch.__version__} ships no {header.name}, from which the places of its virtual methods are read")
        found += re.findall(r"^\s*virtual [^~;{(]*?(\w+)\(", header.read_text(encoding="utf-8"), re.MULTILINE)
    return found


def ensure() -> None:
    """Register the guard and change the answers, once in a process. Raises Changed where torch is not as expected."""
    if _KEEP:
        return
    if torch.cuda.is_available():
        raise Changed("this machine has a card; pretending another beside it is not possible")
    places = slots()
    missing = sorted(set(ANSWERS) - set(places))
    if missing:
        raise Changed(f"torch {torch.__version__}'s CUDA hooks have no method {', '.join(missing)}")
    lib = pathlib.Path(torch.__file__).parent / "lib"
    c10, cpu = (ctypes.CDLL(str(lib / name)) for name in ("libc10.so", "libtorch_cpu.so"))
    try:
        registry, hooks_of = (ctypes.c_void_p * 20).in_dll(c10, GUARDS), getattr(cpu, HOOKS)
    except (ValueError, AttributeError) as error:
        raise Changed(f"torch {torch.__version__} has no symbol of this name any more: {error}") from error
    functions = {answer: ctypes.CFUNCTYPE(ctypes.c_int64)(lambda answer=answer: int(answer)) for answer in (False, True)}
    addresses = {answer: ctypes.cast(function, ctypes.c_void_p).value for answer, function in functions.items()}
    _KEEP.extend(functions.values())
    _register(registry, addresses[False])
    hooks_of.restype = ctypes.c_void_p
    _answer(hooks_of(), places, addresses)


def _register(registry: ctypes.Array, no: int | None) -> None:
    """Put a guard in CUDA's place, all of whose methods answer 0, and let torch replace it by its own."""
    if not registry[_CUDA]:
        methods = (ctypes.c_void_p * 64)(*[no] * 64)
        guard = ctypes.c_void_p(ctypes.addressof(methods))
        _KEEP.extend((methods, guard))
        registry[_CUDA] = ctypes.addressof(guard)
    before = registry[_CUDA]
    torch._C._ensureCUDADeviceGuardSet()
    if registry[_CUDA] == before:
        raise Changed(f"torch {torch.__version__} did not put its fake guard for CUDA in place")


def _answer(hooks: int, places: list[str], addresses: dict[bool, int | None]) -> None:
    """Give the hooks object a copy of its vtable, in which the methods of `ANSWERS` are ours."""
    vtable = ctypes.c_void_p.from_address(hooks)  # an object's first word
    size = len(places) + 2  # before the methods stand the offset to the top and the type's description
    copy = (ctypes.c_void_p * size)(*(ctypes.c_void_p * size).from_address(vtable.value - 16))
    for name, answer in ANSWERS.items():
        copy[places.index(name) + 2] = addresses[answer]
    _KEEP.append(copy)
    vtable.value = ctypes.addressof(copy) + 16
