"""BLIP and Florence-2 from a folder of this machine: pictures -> captions.

Nothing is ever fetched, and no downloaded code is run.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoConfig,
    BlipForConditionalGeneration,
    Florence2ForConditionalGeneration,
    GenerationConfig,
    LogitsProcessorList,
)
from transformers.utils import logging

from engine import allocation
from engine.captioners import Captioner, images
from engine.captioners.drawing import Draw
from engine.captioners.folder import CONFIG, WEIGHTS, Folder, require_tensors, require_tokens
from engine.errors import UserError

_CLASSES = {"blip": BlipForConditionalGeneration, "florence2": Florence2ForConditionalGeneration}


@dataclass(frozen=True)
class Wording:
    """How words are chosen. `num_beams` 1: each is drawn, from the likeliest whose probabilities sum to `top_p`; more: the best of so many
    paths. Lengths are in tokens and count what the model's decoder reads before the caption (of BLIP four, of Florence-2 one)."""

    prompt: str
    num_beams: int = 1
    top_p: float = 0.9
    max_length: int = 75
    min_length: int = 5


class Local:
    """A captioner that runs here."""

    def __init__(self, row: Captioner, found: Folder, wording: Wording, device: torch.device, dtype: torch.dtype) -> None:
        """Load it. Raises UserError, before any weight is read, where the weights are not those of config.json."""
        self._row, self._found, self._wording, self._device, self._dtype = row, found, wording, device, dtype
        network = _CLASSES[row.model_type]
        try:
            config = AutoConfig.from_pretrained(str(found.path), local_files_only=True)
            with torch.device("meta"):
                skeleton = network(config)
        except Exception as error:  # noqa: BLE001 - the library raises anything for values that it does not like
            raise UserError(f"no model can be built by it ({error})", "download the file again", where=str(found.path / CONFIG)) from error
        self._text = config.text_config
        number = config.image_token_id if row.model_type == "florence2" else self._text.sep_token_id
        require_tokens(found, number, self._text.vocab_size, row)
        side = config.vision_config.image_size if row.model_type == "blip" else row.side  # Florence-2 takes pictures of any size
        if side != row.side:
            message = f"this model takes pictures of {side} pixels, and {row.name} takes {row.side}"
            raise UserError(message, f"put the files of {row.repo} there", where=str(found.path / CONFIG))
        same: dict[str, str] = skeleton.all_tied_weights_keys
        require_tensors(found, {name: it.shape for name, it in skeleton.named_parameters() if name not in same}, same, row)
        self._ask = self._prompt(config)
        self._require_lengths()
        logging.disable_progress_bar()
        safe = found.weights.suffix == ".safetensors"
        try:
            with allocation.explained(device, "close other programs that use it, or use --device cpu"):
                model = network.from_pretrained(
                    str(found.path), dtype=dtype, local_files_only=True, use_safetensors=safe, weights_only=True
                )
                self._model = model.to(device).eval().requires_grad_(False)
        except pickle.UnpicklingError as error:
            hint = f"delete it, and take {WEIGHTS[0]} from {row.repo} on the hub"
            raise UserError("this file holds more than tensors, and nothing in it is run", hint, where=str(found.weights)) from error
        model.generation_config = GenerationConfig()  # what a folder's generation_config.json says is in the row

    def prepare(self, picture: Image.Image) -> NDArray[numpy.float32]:
        """A picture as this model takes it; may run in a thread."""
        return images.numbers(picture, self._row)

    def describe(self, pictures: Sequence[NDArray[numpy.float32]], seeds: Sequence[int]) -> list[str]:
        """A caption for each picture. A caption depends on its picture and its seed, not on the others of the batch."""
        with torch.inference_mode(), allocation.explained(self._device, "describe fewer together: --batch_size"):
            pixels = torch.from_numpy(numpy.stack(pictures)).to(self._device, self._dtype)
            ids = torch.tensor([self._ask] * len(pictures), device=self._device)
            made = self._model.generate(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), **self._options(seeds))
        skipped = 0 if self._row.model_type == "florence2" else len(self._ask) - 1  # BLIP's answer begins with its prompt
        return [_line(self._found.tokenizer.decode(row[skipped:], skip_special_tokens=True)) for row in made.tolist()]

    def _require_lengths(self) -> None:
        """Raise UserError for lengths that the model cannot write."""
        least, most = 1 + (len(self._ask) - 1 if self._row.model_type == "blip" else 1), self._text.max_position_embeddings
        if not least <= self._wording.max_length <= most:
            raise UserError(f"{self._wording.max_length} tokens: {self._row.name} takes {least} to {most}", where="--max_length")
        if self._wording.min_length > self._wording.max_length:
            raise UserError(
                f"{self._wording.min_length} tokens is more than the longest caption has", "or raise --max_length", where="--min_length"
            )

    def _options(self, seeds: Sequence[int]) -> dict[str, Any]:
        wording, row = self._wording, self._row
        drawn = wording.num_beams == 1
        options: dict[str, Any] = {
            "do_sample": False,  # `Draw` makes the draw
            "num_beams": wording.num_beams,
            "max_length": wording.max_length,
            "min_length": wording.min_length,
            "repetition_penalty": row.repetition_penalty if drawn else 1.0,
            "no_repeat_ngram_size": row.no_repeat_ngram_size,
        }
        if drawn:
            options["logits_processor"] = LogitsProcessorList([Draw(wording.top_p, seeds)])
        else:
            options["early_stopping"] = True
        if row.model_type == "florence2":
            names = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
            options.update({name: getattr(self._text, name) for name in names})
            options.update(forced_bos_token_id=options["bos_token_id"], forced_eos_token_id=options["eos_token_id"])
        return options

    def _prompt(self, config: Any) -> list[int]:
        """The ids that the model reads with the picture."""
        words = self._found.tokenizer.encode(self._wording.prompt, add_special_tokens=False).ids
        if self._row.model_type == "blip":
            return [self._text.bos_token_id, *words, self._text.sep_token_id]
        shrink = math.prod(config.vision_config.patch_stride)
        places = (self._row.side // shrink) ** 2 + 1  # one for each patch, and one for their mean
        return [config.image_token_id] * places + [self._text.bos_token_id, *words, self._text.eos_token_id]


def _line(text: str) -> str:
    return " ".join(text.split())
