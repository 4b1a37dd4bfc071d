"""What an adapter file is, by the names of its tensors.

Here because the models refuse such files, the adapters read them, and `inspect` tells them apart. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ALPHA = "alpha"
PARTS = {  # how a module's name begins -> the part of the model; the dotted ones are diffusers'
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "unet.": "unet",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
}
_MODULE = re.compile(r"(lora|oft)_(unet|te\d?)_|lycoris_")  # sd-scripts' modules, those of its OFT, and those of LyCORIS' wrapper
_TELLING = re.compile(r"lora|hada|lokr|oft|dora")  # in an end of a name that no other file has, whatever the module is called


@dataclass(frozen=True)
class Kind:
    """One way to write down a change of a layer.

    `suffixes`: the ends of its tensors' names, each enough to know the kind by. `rank`: the one whose first dimension is the rank.
    `readers`: the programs that are known to use such a file, names in `USES`.
    """

    title: str
    suffixes: tuple[str, ...]
    rank: str = ""
    readers: tuple[str, ...] = ()


_WEBUIS = ("WebUI, Forge", "ComfyUI")
LORA = Kind("LoRA", ("lora_down.weight", "lora_up.weight"), "lora_down.weight", (*_WEBUIS, "diffusers"))
LOHA = Kind("LoHa", ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), "hada_w1_b", _WEBUIS)
KINDS: tuple[Kind, ...] = (  # in order: the first that knows one of a module's tensors; additions to another kind come before it
    Kind("DoRA", ("dora_scale",), "", _WEBUIS),
    Kind("LoRA with Tucker factors", ("lora_mid.weight",), "", _WEBUIS),
    Kind("LoHa with Tucker factors", ("hada_t1", "hada_t2"), "", _WEBUIS),
    LORA,
    LOHA,
    Kind("LoKr", ("lokr_w1", "lokr_w2", "lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b", "lokr_t2"), "", _WEBUIS),
    Kind("OFT", ("oft_blocks", "oft_diag")),
    Kind("IA3", ("on_input",)),
    Kind("GLoRA", ("a1.weight", "a2.weight", "b1.weight", "b2.weight")),
    Kind("full weight differences", ("diff", "diff_b"), "", _WEBUIS),
    Kind("differences of norms", ("w_norm", "b_norm"), "", _WEBUIS),
    Kind(
        "LoRA in PEFT's naming",
        (
            *("lora_A.weight", "lora_B.weight", "lora_A.default.weight", "lora_B.default.weight", "lora_magnitude_vector"),
            *("lora.down.weight", "lora.up.weight", "_lora.down.weight", "_lora.up.weight"),
            *("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"),
        ),
        "lora_A.weight",
        ("diffusers",),
    ),
)
USES: dict[str, str] = {  # program -> how it uses a file, with the file's `name` and `path`
    "WebUI, Forge": "into models/Lora; write <lora:{name}:1> and the words",
    "ComfyUI": "into models/loras; add a LoraLoader node, write the words",
    "diffusers": 'pipe.load_lora_weights(r"{path}")',
}


def advice(kinds: Iterable[Kind], name: str, path: str) -> list[tuple[str, str]]:
    """How a file of these kinds is used, a line for each program: its name, and what to do, or that it does not read the file."""
    lines = []
    for program, use in USES.items():
        unread = [kind.title for kind in kinds if program not in kind.readers]
        lines.append((program, f"does not read {' and '.join(unread)}" if unread else use.format(name=name, path=path)))
    return lines


def split(tensor: str) -> tuple[str, str]:
    """A tensor's name -> its module's name, and the end that says what it is of it; empty where no module is known by it.

    >>> split("lora_unet_a.lora_down.weight"), split("unet.a.to_q.lora_A.weight"), split("a.weight")
    (('lora_unet_a', 'lora_down.weight'), ('unet.a.to_q', 'lora_A.weight'), ('', 'a.weight'))
    """
    if _MODULE.match(tensor):
        module, _, end = tensor.partition(".")
        return module, end
    end = next((suffix for kind in KINDS for suffix in (*kind.suffixes, ALPHA) if _has(tensor, suffix)), "")
    return (tensor.removesuffix(end).rstrip("."), end) if end else ("", tensor)


def part(name: str) -> str:
    """The part of the model that a tensor or module changes, by its name; empty where no part is known by it."""
    return next((part for prefix, part in PARTS.items() if name.startswith(prefix)), "")


def kind(tensors: Iterable[str]) -> Kind | None:
    """What the tensors of one module are, by the ends of their names; None where no kind is known by them."""
    ends = tuple(tensors)
    return next((kind for kind in KINDS if any(_has(tensor, suffix) for suffix in kind.suffixes for tensor in ends)), None)


def _has(tensor: str, suffix: str) -> bool:
    """Whether a tensor's name ends so: behind a dot, or as a whole, or with the underscore that the suffix itself begins with."""
    return tensor.endswith(suffix) and (suffix[0] == "_" or tensor == suffix or tensor[-len(suffix) - 1] == ".")


def is_adapter(tensors: Iterable[str]) -> bool:
    """Whether one of these names stands in an adapter file alone."""
    telling = [suffix for kind in KINDS for suffix in kind.suffixes if _TELLING.search(suffix)]
    return any(_MODULE.match(name) or any(_has(name, suffix) for suffix in telling) for name in tensors)
