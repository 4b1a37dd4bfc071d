"""A base model in use: what it is, and its parts, loaded when needed. What the user has set otherwise is known here too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from engine import files, memo, models, tensorfile
from engine.errors import UserError
from engine.models import networks
from engine.models.family import Checkpoint, Family, Prediction
from engine.models.recognise import recognise, recognise_vae
from engine.models.specs import ClipSpec
from engine.models.vae import load_vae


@dataclass(frozen=True)
class Base:
    """A recognised base model, with the user's last word on how it was trained."""

    checkpoint: Checkpoint
    family: Family
    prediction: Prediction
    zero_terminal_snr: bool
    vae: Path | None  # a VAE to use instead of the model's own
    cache_dir: Path  # content hashes are remembered here
    clip_skip: int | None = None  # as it takes effect: None in a family whose text encoders' layer is fixed

    @property
    def path(self) -> Path:
        """The file or folder."""
        return self.checkpoint.path

    @property
    def resolution(self) -> int:
        """The side in pixels of the square it was made for: as its file says, else its family's."""
        return models.row_of(self.checkpoint).default_resolution

    def load(self, part: str, dtype: torch.dtype | None, device: torch.device | str) -> nn.Module:
        """One network, frozen and in eval mode. dtype None keeps the file's."""
        if part == "vae" and self.vae is not None:
            return load_vae(self.vae, self.family.name, dtype, device)
        return self.family.load(self.checkpoint, part, dtype, device)

    def outline(self, part: str) -> nn.Module:
        """One network's names and shapes on the meta device; no weight is read."""
        return networks.build(self.checkpoint.networks[part].spec)

    def identity(self, part: str) -> str:
        """A hash of one network's weights, whatever file they lie in; remembered until that file changes."""
        source = self._weights_file(part)
        return memo.once(lambda: tensorfile.content_hash(self.load(part, None, "cpu").state_dict()), self._memo(part), source)

    def file_hash(self) -> str:
        """SHA-256 of the model's file, remembered until the file changes; empty for a diffusers folder."""
        if self.path.is_dir():
            return ""
        return memo.once(lambda: files.sha256(self.path), self._memo("file"), self.path)

    def text_bytes(self, max_token_length: int | None, dtype: torch.dtype) -> int:
        """Memory of one encoded caption: the encoders' widths at every token, and the last one's once more for a pooled output."""
        specs = [cast(ClipSpec, self.checkpoint.networks[part].spec) for part in self.family.text_parts]
        widths = [spec.width for spec in specs]
        tokens = (max_token_length or 75) // 75 * 75 + 2
        return (sum(widths) * tokens + widths[-1]) * dtype.itemsize

    def _weights_file(self, part: str) -> Path:
        """The file whose change means that the part's weights may have changed."""
        if part == "vae" and self.vae is not None:
            source = recognise_vae(self.vae, self.family.name).path
        else:
            source = self.checkpoint.networks[part].path
        if source.is_file():
            return source
        return max((path for path in source.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)

    def _memo(self, what: str) -> Path:
        return self.cache_dir / "hashes" / f"{what}.json"


def open_base(
    path: str,
    cache_dir: Path,
    *,
    family: str | None = None,
    vae: str | None = None,
    v_parameterization: bool | None = None,
    zero_terminal_snr: bool | None = None,
    clip_skip: int | None = None,
) -> tuple[Base, list[str]]:
    """Recognise a base model, with what should be said of it. No weight is read.

    What the user sets (not None) wins over what the file says; the notices tell of both. Raises UserError where it is missing or no base
    model, of another family, and for a `vae` that is none or does not fit.
    """
    if not path:
        raise UserError(
            "no base model is named",
            "give a .safetensors or .ckpt file, or a diffusers folder, for instance models/my_model.safetensors",
            where="pretrained_model_name_or_path",
        )
    checkpoint = recognise(Path(path))
    if family and family != checkpoint.family:
        raise UserError(
            f"`family = {family}` is set, but the file holds a model of the family {checkpoint.family}",
            "leave `family` out",
            where=str(checkpoint.path),
        )
    notices = list(checkpoint.notes)
    prediction, zero_terminal = checkpoint.prediction, checkpoint.zero_terminal_snr
    if v_parameterization is not None:
        wanted: Prediction = "v_prediction" if v_parameterization else "epsilon"
        if wanted != prediction:
            notices.append(f"v_parameterization is set to {v_parameterization}; by {checkpoint.marks_from} it would be {prediction}")
        prediction = wanted
    if zero_terminal_snr is not None:
        if zero_terminal_snr != zero_terminal:
            notices.append(f"zero_terminal_snr is set to {zero_terminal_snr}; by {checkpoint.marks_from} it would be {zero_terminal}")
        zero_terminal = zero_terminal_snr
    found = models.get(checkpoint.family)
    if clip_skip is not None and not found.uses_clip_skip:
        notices.append(f"clip_skip = {clip_skip} has no effect: the layer that {found.name}'s text encoders give is fixed")
        clip_skip = None
    if vae:
        recognise_vae(Path(vae), found.name)
    return Base(checkpoint, found, prediction, zero_terminal, Path(vae) if vae else None, cache_dir, clip_skip), notices
