"""Latents and text outputs, encoded once and kept on disk. They are keyed by content, verified, and shared between runs.

The encoders are handed in. Everything they return goes to the CPU at once, so GPU memory does not grow with the number of pictures.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine.data import decode, entries, images
from engine.data.entries import Damaged, Memory, Tensors
from engine.data.items import Item
from engine.errors import UserError

EncodeImages = Callable[[Tensor], tuple[Tensor, Tensor]]  # pixels [B,3,H,W] in [-1,1] -> mean, std, each [B,C,h,w], unscaled
EncodeTexts = Callable[[list[str]], Mapping[str, Tensor]]  # B captions -> named tensors, each [B,...]
Progress = Callable[[int, int], None]  # done, of

_FORMAT = 2  # raise it when an entry's meaning changes: old entries are then made again
_SHARD = 64  # captions in one file


@dataclass(frozen=True)
class CacheReport:
    """What `ensure` did. `damaged` names the entries that were found broken, removed and made again."""

    found: int
    made: int
    damaged: tuple[Path, ...] = ()


def _key(*parts: object) -> str:
    """A short name for what an entry depends on: 32 hex digits."""
    return hashlib.sha256(json.dumps([_FORMAT, *parts], ensure_ascii=False).encode()).hexdigest()[:32]


def _remove(path: Path) -> None:
    """Remove a damaged file, if it is still there."""
    path.unlink(missing_ok=True)


class LatentCache:
    """Mean and spread of each picture's latents, so that noise is drawn anew for every sample.

    `folder` None keeps everything in memory and writes nothing. `identity` names the VAE: its content hash, and the precision it runs
    in. `memory` bounds the entries kept in memory beside the disk, in bytes.
    """

    def __init__(
        self, folder: Path | None, identity: str, dtype: torch.dtype, *, background: str = "#ffffff", memory: int = 2 << 30
    ) -> None:
        self.folder = folder / "latents" if folder else None
        self.identity = identity
        self.dtype = dtype
        self.background = background
        self._memory = Memory(memory if folder else None)

    def key(self, item: Item, flip: bool) -> str:
        """What this picture's latents depend on, hashed: content, placement, flip, VAE, precision."""
        place = item.placement
        look = (*place.bucket, *place.resized, *place.crop, flip, item.interpolation, self.background)
        return _key(item.digest, look, self.identity, str(self.dtype))

    def get(self, item: Item, flip: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and spread, each [C,h,w], on the CPU. Raises UserError for an entry that was lost or damaged after `ensure`."""
        key = self.key(item, flip)
        entry = self._memory.get(key)
        if entry is None:
            path = self._path(key)
            if path is None:
                raise KeyError(f"{item.image} (flip {flip}) was not asked for in ensure()")
            entry = _read_late(path, key, f"the cached latents of {item.image}")
            self._memory.put(key, entry)
        return entry["mean"], entry["std"]

    def ensure(
        self,
        items: Iterable[Item],
        encode: EncodeImages,
        *,
        batch_size: int = 1,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> CacheReport:
        """Make what is missing or damaged, for every item and, with `flip_aug`, its mirror image.

        Pictures of one bucket are encoded `batch_size` at a time, while `workers` threads decode the next ones. Each entry is a file of
        its own, so an interrupted job resumes where it stopped. Raises UserError for latents that are not numbers, and images.Changed
        for a picture that is no longer the one that was looked at; neither is kept.
        """
        wanted: dict[str, tuple[Item, bool]] = {}
        for item in items:
            for flip in (False, True) if item.flip_aug else (False,):
                wanted.setdefault(self.key(item, flip), (item, flip))
        report = progress or (lambda done, total: None)
        with decode.threads(workers) as pool:
            missing, damaged = self._missing(wanted, pool)
            missing.sort(key=lambda key: wanted[key][0].placement.bucket)
            done = len(wanted) - len(missing)
            report(done, len(wanted))
            for keys in self._encode(_same_bucket(missing, wanted, batch_size), wanted, encode, pool):
                done += len(keys)
                report(done, len(wanted))
        return CacheReport(len(wanted) - len(missing), len(missing), tuple(damaged))

    def _missing(self, wanted: Mapping[str, tuple[Item, bool]], pool: ThreadPoolExecutor) -> tuple[list[str], list[Path]]:
        """Keys that have no sound entry, and the files that were damaged (already removed)."""

        def state(key: str) -> tuple[bool, Path | None]:
            path = self._path(key)
            if path is None or not path.exists():
                return self._memory.get(key) is not None, None
            try:
                entry = entries.read(path, key)[key]
            except Damaged:
                _remove(path)
                return False, path
            self._memory.put(key, entry)
            return True, None

        states = dict(zip(wanted, pool.map(state, wanted), strict=True))
        return [key for key, (sound, _) in states.items() if not sound], [path for _, path in states.values() if path]

    def _encode(
        self, groups: Sequence[list[str]], wanted: Mapping[str, tuple[Item, bool]], encode: EncodeImages, pool: ThreadPoolExecutor
    ) -> Iterable[list[str]]:
        """Encode group by group and yield each when it is kept; decoding runs ahead and writing behind, in the pool."""
        waiting: deque[tuple[list[str], list[Future[Tensor]]]] = deque()
        writes: deque[Future[None]] = deque()
        ahead = iter(groups)

        def refill() -> None:
            while len(waiting) < 3 and (group := next(ahead, None)) is not None:
                waiting.append((group, [pool.submit(self._pixels, *wanted[key]) for key in group]))

        refill()
        try:
            while waiting:
                keys, pixels = waiting.popleft()
                refill()
                mean, std = encode(torch.stack([future.result() for future in pixels]))
                mean, std = mean.detach().to("cpu", self.dtype), std.detach().to("cpu", self.dtype)
                for place, key in enumerate(keys):
                    entry = {"mean": mean[place].clone(), "std": std[place].clone()}
                    _require_numbers(entry, wanted[key][0])
                    self._memory.put(key, entry)
                    writes.append(pool.submit(self._write, key, entry, wanted[key][0]))
                while len(writes) > 32:
                    writes.popleft().result()
                yield keys
        finally:
            for write in writes:
                write.result()

    def _pixels(self, item: Item, flip: bool) -> Tensor:
        """The picture as the VAE gets it: [3,H,W] in [-1,1]."""
        return images.to_tensor(images.load(item.image, item.digest, item.placement, self.background, item.interpolation), flip)

    def _write(self, key: str, entry: Tensors, item: Item) -> None:
        """Write an entry under its own key, so that a copy in another's place is not taken for it, with what a person needs to know it."""
        path = self._path(key)
        if path is not None:
            entries.write(path, {key: entry}, {"format": str(_FORMAT), "image": item.image.name, "vae": self.identity})

    def _path(self, key: str) -> Path | None:
        """Where an entry lies; None when nothing is kept on disk."""
        return self.folder / key[:2] / f"{key}.safetensors" if self.folder else None


class TextCache:
    """What the text encoders make of each distinct caption, in files of some dozens.

    `identity` names the encoders: their content hashes and the precision they run in. `folder` None keeps everything in memory.
    """

    def __init__(
        self,
        folder: Path | None,
        identity: str,
        dtype: torch.dtype,
        *,
        clip_skip: int | None = None,
        max_token_length: int | None = None,
        memory: int = 1 << 30,
    ) -> None:
        self._space = _key("text", identity, clip_skip, max_token_length, str(dtype))
        self.folder = folder / "text" / self._space[:16] if folder else None
        self.identity = identity
        self.dtype = dtype
        self._files: dict[str, Path] = {}
        self._memory = Memory(memory if folder else None)

    def get(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """The named tensors of these captions, each [B,...], on the CPU. Raises UserError for an entry damaged after `ensure`."""
        found = [self._entry(caption) for caption in captions]
        return {name: torch.stack([entry[name] for entry in found]) for name in found[0]}

    def ensure(
        self, captions: Iterable[str], encode: EncodeTexts, *, batch_size: int = 16, progress: Progress | None = None
    ) -> CacheReport:
        """Encode the captions that are missing or damaged, each distinct text once, `batch_size` at a time."""
        wanted = {self._key(caption): caption for caption in captions}
        report = progress or (lambda done, total: None)
        damaged = self._find(set(wanted))
        missing = [key for key in wanted if key not in self._files and self._memory.get(key) is None]
        done = len(wanted) - len(missing)
        report(done, len(wanted))
        for start in range(0, len(missing), _SHARD):
            shard: dict[str, Tensors] = {}
            for first in range(start, min(start + _SHARD, len(missing)), batch_size):
                keys = missing[first : min(first + batch_size, start + _SHARD)]
                shard.update(self._encoded(keys, [wanted[key] for key in keys], encode))
                done += len(keys)
                report(done, len(wanted))
            self._keep(shard)
        return CacheReport(len(wanted) - len(missing), len(missing), tuple(damaged))

    def _entry(self, caption: str) -> Tensors:
        """One caption's tensors, from memory or disk."""
        key = self._key(caption)
        entry = self._memory.get(key)
        if entry is None:
            if key not in self._files:
                raise KeyError(f"caption was not asked for in ensure(): {caption!r}")
            entry = _read_late(self._files[key], key, f"the cached text of `{caption}`")
            self._memory.put(key, entry)
        return entry

    def _encoded(self, keys: Sequence[str], captions: list[str], encode: EncodeTexts) -> dict[str, Tensors]:
        """Encode one batch and take it apart into entries."""
        named = {name: self._narrow(tensor.detach()) for name, tensor in encode(captions).items()}
        for name, tensor in named.items():
            for place, caption in enumerate(captions):
                if tensor.is_floating_point() and not bool(torch.isfinite(tensor[place]).all()):
                    raise UserError(
                        f"the text encoder gave values that are not numbers ({name}) for the caption `{caption}`",
                        "use mixed_precision = bf16 or no, or another base model",
                    )
        return {key: {name: tensor[place].clone() for name, tensor in named.items()} for place, key in enumerate(keys)}

    def _narrow(self, tensor: Tensor) -> Tensor:
        """On the CPU, in the cache's precision where it is a number with a fraction."""
        return tensor.to("cpu", self.dtype) if tensor.is_floating_point() else tensor.to("cpu")

    def _keep(self, shard: dict[str, Tensors]) -> None:
        """Keep a file's worth of entries."""
        for key, entry in shard.items():
            self._memory.put(key, entry)
        if self.folder is not None:
            name = _key(*sorted(shard))
            path = self.folder / name[:2] / f"{name}.safetensors"
            entries.write(path, shard, {"format": str(_FORMAT), "encoder": self.identity})
            self._files.update(dict.fromkeys(shard, path))

    def _find(self, wanted: set[str]) -> list[Path]:
        """Look through this encoder's files for wanted entries, and verify those. Returns the damaged files, already removed."""
        damaged = []
        for path in sorted(self.folder.glob("??/*.safetensors")) if self.folder else ():
            try:
                groups = entries.groups_in(path)
                if path.stem != _key(*sorted(groups)):  # a copy in another's place, which would be written over when that is made again
                    raise Damaged(f"{path}: it holds what another file should hold")
                held = wanted.intersection(groups) - self._files.keys()
                if held:
                    for key, entry in entries.read(path).items():
                        if key in held:
                            self._memory.put(key, entry)
            except Damaged:
                _remove(path)
                damaged.append(path)
                continue
            self._files.update(dict.fromkeys(held, path))
        return damaged

    def _key(self, caption: str) -> str:
        """A caption's name within this encoder's files."""
        return _key(self._space, caption)


def _read_late(path: Path, group: str, what: str) -> Tensors:
    """Read an entry during training, when it can no longer be made again."""
    try:
        return entries.read(path, group)[group]
    except Damaged as error:
        _remove(path)
        raise UserError(f"{what} were lost or damaged during the run", "start again: they will be made anew", where=str(path)) from error


def _require_numbers(entry: Tensors, item: Item) -> None:
    """Raise UserError naming the picture whose latents are not numbers."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in entry.values()):
        raise UserError(
            "the VAE gave values that are not numbers for this picture",
            "turn on no_half_vae (the VAE then runs in fp32), or give another `vae`",
            where=str(item.image),
        )


def _same_bucket(keys: Sequence[str], wanted: Mapping[str, tuple[Item, bool]], batch_size: int) -> list[list[str]]:
    """Cut keys (sorted by bucket) into groups of one bucket, at most `batch_size` long."""
    groups: list[list[str]] = []
    for key in keys:
        bucket = wanted[key][0].placement.bucket
        if groups and len(groups[-1]) < batch_size and wanted[groups[-1][0]][0].placement.bucket == bucket:
            groups[-1].append(key)
        else:
            groups.append([key])
    return groups
