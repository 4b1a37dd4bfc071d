"""Captions -> CLIP token ids, by the `tokenizers` library alone. No torch and no transformers, so that `check` stays quick.

The vocabulary is OpenAI's CLIP byte-pair encoding, whose merges lie in `clip/` (clip/README.md); it is built from them when first needed.
"""

from __future__ import annotations

import functools
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Engine

from engine import files
from engine.errors import UserError

START, END = 49406, 49407
CHUNK = 75  # tokens of text in one pass of the encoder, between a start and an end
LENGTHS = (75, 150, 225)
_START_TOKEN, _END_TOKEN = "<|startoftext|>", "<|endoftext|>"
_MERGES = Path(__file__).parent / "clip" / "merges.txt.gz"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # OpenAI CLIP's pattern (simple_tokenizer.py, MIT)


@functools.cache
def merges_text() -> str:
    """The merges as CLIP's `merges.txt`: a version line, then one pair of symbols a line."""
    return gzip.decompress(_MERGES.read_bytes()).decode("utf-8")


@functools.cache
def vocabulary() -> dict[str, int]:
    """Token -> id: 256 bytes, the same at the end of a word, one for each merge, start and end."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(byte) for byte in plain] + [chr(256 + index) for index in range(256 - len(plain))]
    joined = ["".join(pair) for pair in _pairs()]
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *joined, _START_TOKEN, _END_TOKEN]
    return {token: index for index, token in enumerate(tokens)}


def _pairs() -> list[tuple[str, str]]:
    lines = merges_text().rstrip("\n").split("\n")[1:]
    return [(left, right) for left, _, right in (line.partition(" ") for line in lines)]


@dataclass(frozen=True)
class Encoded:
    """Captions as ids. `ids` rows have 77, 152 or 227 entries; `cut` counts each caption's tokens that did not fit."""

    ids: list[list[int]]
    cut: list[int]


class Tokenizer:
    """CLIP's tokenizer: text is normalised (NFC, spaces, lower case), split into words and merged from bytes."""

    def __init__(self) -> None:
        engine = Engine(models.BPE(vocab=vocabulary(), merges=_pairs(), end_of_word_suffix="</w>", unk_token=_END_TOKEN))
        engine.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
        words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
        engine.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        engine.decoder = decoders.ByteLevel()
        engine.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (_START_TOKEN, _END_TOKEN)])
        self._engine = engine

    def body(self, captions: Sequence[str]) -> list[list[int]]:
        """Each caption's ids, without start and end."""
        return [encoding.ids for encoding in self._engine.encode_batch(list(captions), add_special_tokens=False)]

    def count(self, captions: Sequence[str]) -> list[int]:
        """How many tokens each caption has; 75, 150 or 225 of them reach the model."""
        return [len(ids) for ids in self.body(captions)]

    def encode(self, captions: Sequence[str], max_token_length: int | None = None, pad: int = END) -> Encoded:
        """Start, the caption's ids as far as they fit, end, padding: 77, 152 or 227 ids a caption.

        `pad` is the end token for SD1 and SDXL's first encoder, 0 for its second. None means 75. Raises UserError for another length.
        """
        room = check_length(max_token_length)
        rows, cut = [], []
        for ids in self.body(captions):
            cut.append(max(0, len(ids) - room))
            kept = [START, *ids[:room], END]
            rows.append(kept + [pad] * (room + 2 - len(kept)))
        return Encoded(rows, cut)


@functools.cache
def tokenizer() -> Tokenizer:
    """The one tokenizer; building it takes a moment."""
    return Tokenizer()


def check_length(max_token_length: int | None) -> int:
    """75, 150 or 225; None means 75. Raises UserError for another number."""
    length = CHUNK if max_token_length is None else max_token_length
    if length not in LENGTHS:
        raise UserError(f"{length} tokens is not a length that can be used", "choose 75, 150 or 225", where="max_token_length")
    return length


def write_folder(folder: Path, pad_token: str) -> None:
    """Write a tokenizer folder that every version of transformers reads: its newest versions save less."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "vocab.json", vocabulary())
    files.write_text(folder / "merges.txt", merges_text())
    special = {
        role: {"content": token, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        for role, token in (("bos_token", _START_TOKEN), ("eos_token", _END_TOKEN), ("unk_token", _END_TOKEN))
    }
    files.write_json(folder / "special_tokens_map.json", {**special, "pad_token": pad_token})
    files.write_json(
        folder / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            **{role: {"__type": "AddedToken", **entry} for role, entry in special.items()},
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": 77,
            "pad_token": pad_token,
            "tokenizer_class": "CLIPTokenizer",
        },
    )
