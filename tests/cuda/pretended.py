"""A pretended NVIDIA card: real values, computed on the CPU, in tensors that say `cuda:0`.

It raises where a card would: tensors of two devices in one operation, tensors of two formats where a kernel takes one, memory that
cannot be pinned, a `torch.cuda` call that nobody stands in for. It counts what a card makes slow: values that the host waits for, calls
of `synchronize`, and copies from memory that is not pinned.

It cannot show whether a kernel exists, cuDNN's workspaces, a card's own NaN, time, or Windows lending memory.
"""

from __future__ import annotations

import collections
import functools
import time
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.counts import place
from engine import trials
from tests.cuda import guard

Arguments, Keywords = Sequence[object], Mapping[str, object]
CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")
_INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")  # take an index that lies on the CPU
_READS = ("_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "masked_select", "equal")
# These kernels take one format on a card. Those of the CPU mix some of them in silence.
_ONE_FORMAT = (
    "native_group_norm", "native_layer_norm", "native_group_norm_backward", "native_layer_norm_backward", "convolution",
    "convolution_backward", "mm", "bmm", "addmm", "baddbmm", "_scaled_dot_product_flash_attention_for_cpu",
)  # fmt: skip
# Computed in fp32 and rounded, as a card sums them. The CPU's own kernels for 16 bits take up to sixty times as long.
_WIDENED = ("convolution", "convolution_backward", "mm", "bmm", "addmm", "baddbmm")


class Mismatch(RuntimeError):
    """Tensors of two devices or of two formats in one operation."""


@dataclass(frozen=True)
class Model:
    """What the pretended card is."""

    capability: tuple[int, int] = (8, 6)
    gib: float = 12.0
    name: str = "Pretended Card"
    count: int = 1


@dataclass
class Ledger:
    """What was asked of the card, by the line of ours that asked."""

    reads: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)  # (operation, place)
    pageable: collections.Counter[str] = field(default_factory=collections.Counter)  # copies to the card from memory that is not pinned
    pinned: int = 0
    operations: collections.Counter[str] = field(default_factory=collections.Counter)
    calls: collections.Counter[str] = field(default_factory=collections.Counter)  # of torch.cuda

    @property
    def waits(self) -> int:
        """Values that the host waited for."""
        return self.reads.total()


LEDGER = Ledger()


class OnCard(torch.Tensor):
    """A tensor that says it lies on the card; `values` holds them."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> OnCard:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            layout=values.layout,
            device=CUDA,
        )
        made.values = values
        return made

    def __repr__(self) -> str:
        return f"OnCard({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: object, kinds: object, args: Arguments = (), kwargs: Keywords | None = None) -> object:
        return dispatch(func, args, kwargs or {})


class Mode(TorchDispatchMode):
    """Sends what makes tensors with `device="cuda"` to the card."""

    def __torch_dispatch__(self, func: object, kinds: object, args: Arguments = (), kwargs: Keywords | None = None) -> object:
        return dispatch(func, args, kwargs or {})


def dispatch(func, args, kwargs):  # type: ignore[no-untyped-def] # torch's own protocol
    """Run one operation on the CPU, and give its results the device that a card would give them."""
    tensors: list[Tensor] = []
    plain_args, plain_kwargs = (_changed(given, lambda value: _plain(value, tensors)) for given in (args, kwargs))
    cards = [value for value in tensors if isinstance(value, OnCard)]
    name = func.overloadpacket.__name__
    if name == "_fused_sdp_choice" and cards:
        return 0  # the composition of plain operations: the other kernels exist on a card alone
    if cards:
        LEDGER.operations[name] += 1
        _require_one_device(func, name, args, tensors)
        _require_one_format(func, name, cards)
        if name in _READS:
            LEDGER.reads[name, place()] += 1
    target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    if target is not None and target.type == "cuda":
        plain_kwargs["device"] = CPU
        plain_kwargs.pop("pin_memory", None)
    result = _widened(func, plain_args, plain_kwargs) if name in _WIDENED and cards else func(*plain_args, **plain_kwargs)
    if name == "_to_copy":
        return _copied(args[0], result, target)
    if name == "copy_":
        _note_copy(args[1], args[0])
        return args[0]
    if isinstance(result, torch.Tensor) and target is not None:
        return OnCard(result) if target.type == "cuda" else result
    return _on_card(func, args, kwargs, result) if cards else result


def _changed(given, change):  # type: ignore[no-untyped-def] # any arguments or results
    """The same with every tensor changed. Operations nest tensors in lists at most; torch's own tree functions take half of a step."""
    if isinstance(given, torch.Tensor):
        return change(given)
    if isinstance(given, (list, tuple)):
        return type(given)([_changed(value, change) for value in given])
    if isinstance(given, dict):
        return {name: _changed(value, change) for name, value in given.items()}
    return given


def _plain(value: Tensor, tensors: list[Tensor]) -> Tensor:
    """The tensor of the CPU that holds the values; `value` itself is added to `tensors`."""
    tensors.append(value)
    return value.values if isinstance(value, OnCard) else value


def _widened(func, args, kwargs):  # type: ignore[no-untyped-def] # torch's own protocol
    """The result of an operation whose sums are fp32 whatever its format is."""
    found: list[Tensor] = []
    _changed((args, kwargs), lambda value: _plain(value, found))
    (format,) = {value.dtype for value in found}  # `_require_one_format` saw to it
    if format not in (torch.float16, torch.bfloat16):
        return func(*args, **kwargs)
    out = kwargs.get("out")
    args, kwargs = _changed((args, kwargs), torch.Tensor.float)
    result = _changed(func(*args, **kwargs), lambda value: value.to(format))
    return result if out is None else out.copy_(result)


def _require_one_device(func: object, name: str, args: Sequence[object], tensors: Sequence[Tensor]) -> None:
    """Raise Mismatch for a tensor of the CPU beside one of the card; a number in a tensor without dimensions is allowed, as on a card."""
    if name in ("copy_", "_to_copy"):
        return
    strangers = [tensor for tensor in tensors if not isinstance(tensor, OnCard) and tensor.dim() > 0]
    if name in _INDEXED:
        strangers = [tensor for tensor in strangers if not any(tensor is index for index in (args[1] or ()))]
    if strangers:
        shapes = [tuple(tensor.shape) for tensor in strangers]
        raise Mismatch(f"{func}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! {shapes}")


def _require_one_format(func: object, name: str, cards: Sequence[Tensor]) -> None:
    """Raise Mismatch for floating-point tensors of two formats where a card's kernel takes one."""
    formats = {tensor.dtype for tensor in cards if tensor.is_floating_point()}
    if name.startswith("native_") and name.endswith("_backward"):
        formats = {tensor.dtype for tensor in cards[:2]}  # the saved mean and deviation are fp32
    if name in _ONE_FORMAT and len(formats) > 1:
        raise Mismatch(f"{func}: expected one scalar type, found {', '.join(sorted(map(str, formats)))}")


def _copied(source: Tensor, result: Tensor, target: torch.device | None) -> Tensor:
    """The result of `_to_copy`, noted where it crosses between the devices."""
    here = CUDA if isinstance(source, OnCard) else CPU
    there = target or here
    if result is (source.values if isinstance(source, OnCard) else source):
        result = result.clone()
    if there.type == "cpu":
        if here == CUDA:
            LEDGER.reads["copy to the CPU", place()] += 1
        return result
    if here == CPU:
        _note_upload(source)
    return OnCard(result)


def _note_copy(source: Tensor, target: Tensor) -> None:
    if isinstance(target, OnCard) and not isinstance(source, OnCard):
        _note_upload(source)
    elif isinstance(source, OnCard) and not isinstance(target, OnCard):
        LEDGER.reads["copy to the CPU", place()] += 1


def _note_upload(source: Tensor) -> None:
    if getattr(source, "_is_pinned", False):
        LEDGER.pinned += 1
    elif source.dim():
        LEDGER.pageable[place()] += 1


@functools.cache
def _writes(func) -> tuple[tuple[int, str], ...]:  # type: ignore[no-untyped-def] # torch's own protocol
    """Number and name of the arguments that an operation writes into."""
    arguments = enumerate(func._schema.arguments)
    return tuple((number, argument.name) for number, argument in arguments if argument.alias_info and argument.alias_info.is_write)


def _on_card(func, args, kwargs, result):  # type: ignore[no-untyped-def] # torch's own protocol
    """Results as tensors of the card. What an operation writes into stays the same object."""
    written = {}
    for number, name in _writes(func):
        given = args[number] if number < len(args) else kwargs.get(name)
        for one in given if isinstance(given, (list, tuple)) else [given]:
            if isinstance(one, OnCard):
                written[id(one.values)] = one

    def wrapped(value: Tensor) -> Tensor:
        return value if isinstance(value, OnCard) else written[id(value)] if id(value) in written else OnCard(value)

    return _changed(result, wrapped)


class Event:
    """Stands in for `torch.cuda.Event`: the pretended card has done at once what it is asked."""

    def __init__(self, enable_timing: bool = False) -> None:
        self._at = 0.0

    def record(self, stream: object = None) -> None:
        """Now."""
        self._at = time.perf_counter()

    def elapsed_time(self, later: Event) -> float:
        """Milliseconds until `later`."""
        return (later._at - self._at) * 1000


def install(model: Model) -> None:
    """Stand in for `torch.cuda` in this process, and begin a new ledger. May be called again with another card."""
    guard.ensure()
    LEDGER.__init__()  # type: ignore[misc] # everybody keeps the same one
    trials._CHANNELS, trials._SIDE = 64, 16  # a CPU takes minutes for the real size in fp16
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # Module.to would copy an OnCard without its values
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") makes it on the CPU and asks for a copy
    current = [0]
    total = int(model.gib * 2**30)
    properties = types.SimpleNamespace(
        major=model.capability[0], minor=model.capability[1], name=model.name, total_memory=total, multi_processor_count=28, warp_size=32
    )
    answers: dict[str, Callable[..., object]] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "_lazy_init": lambda: None,
        "device_count": lambda: model.count,
        "current_device": lambda: current[0],
        "set_device": lambda device: current.__setitem__(0, device if isinstance(device, int) else torch.device(device).index or 0),
        "get_device_name": lambda device=None: model.name,
        "get_device_capability": lambda device=None: model.capability,
        "get_device_properties": lambda device=None: properties,
        "get_arch_list": lambda: [f"sm_{model.capability[0]}{model.capability[1]}"],
        "is_bf16_supported": lambda including_emulation=True: model.capability[0] >= 8,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "current_stream": lambda device=None: None,
        "reset_peak_memory_stats": lambda device=None: None,
        "memory_allocated": lambda device=None: 1 << 29,
        "max_memory_allocated": lambda device=None: 1 << 30,
        "memory_reserved": lambda device=None: 1 << 30,
        "max_memory_reserved": lambda device=None: 1 << 30,
        "mem_get_info": lambda device=None: (total - (1 << 30), total),
        "get_rng_state": lambda device="cuda": torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda state, device="cuda": None,
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, _counted(name, answer))
    torch.cuda.Event = Event  # type: ignore[assignment, misc]
    torch.utils.checkpoint.get_device_states = lambda *args: ([], [])
    torch.utils.checkpoint.set_device_states = lambda *args, **kwargs: None
    torch.Tensor.pin_memory = _pin


def _counted(name: str, answer: Callable[..., object]) -> Callable[..., object]:
    def called(*args: object, **kwargs: object) -> object:
        LEDGER.calls[name] += 1
        return answer(*args, **kwargs)

    return called


def _pin(tensor: Tensor, device: object = None) -> Tensor:
    """A copy that is known as pinned. As on a card, only a tensor of the CPU can be."""
    if isinstance(tensor, OnCard):
        raise RuntimeError(f"cannot pin '{tensor.dtype}': only dense CPU tensors can be pinned")
    made = tensor.clone()
    made._is_pinned = True  # type: ignore[attr-defined]
    return made
