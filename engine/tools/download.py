"""`download`: gets a base model or a VAE into `models/`.

It goes by address or by the name on the hub. Nothing else asks the network for models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from engine import fetch, files
from engine.errors import UserError
from engine.fetch import Expected
from engine.tools.inspect import describe

SUFFIXES = (".safetensors", ".ckpt", ".pt")  # in order of preference
_FOLDER_TEXTS = (".json", ".txt")
_FOLDER_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
_EXAMPLE = "python -m engine download owner/name, or an address that ends with a file's name"


@dataclass(frozen=True)
class Remote:
    """One file to get: where it is, where it goes below `models/`, and what it must be."""

    address: str
    name: str
    expected: Expected


@dataclass(frozen=True)
class HubFile:
    """A file of a model's page on the hub."""

    path: str
    size: int
    sha256: str  # empty for small files, of which the hub tells none


def run(
    what: str, models: Path, hub: str, *, mirror: str = "", sha256: str = "", out: str = "", say: Callable[[str], None], pause: float = 3.0
) -> Path:
    """Download `what`, check it, and say what it is; returns the file or the diffusers folder.

    `hub` is the hub's address, `mirror` another one with the same pages; `out` a path to use instead of the file's own name in `models`.
    Raises UserError where it cannot be had, is not what `sha256` or the hub says, or something else lies at its place.
    """
    if sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"`{sha256}` is no SHA-256", "it has 64 digits from 0 to f", where="--sha256")
    wanted = _from_hub(_hub_path(what, hub), mirror or hub) if _hub_path(what, hub) else [_from_address(what, out)]
    if len(wanted) > 1 and (sha256 or out):
        raise UserError("this model is a folder of several files", "leave --sha256 and --out away", where=what)
    target = models / wanted[0].name
    for remote in wanted:
        target = Path(out) if out else models / remote.name
        expected = Expected(sha256.lower(), remote.expected.size) if sha256 else remote.expected
        _one(remote.address, target, expected, say, pause)
    made = target if len(wanted) == 1 else models / PurePosixPath(wanted[0].name).parts[0]
    say(describe(made))
    return made


def named(page: str, wanted: Sequence[Sequence[str]], folder: Path, hub: str, say: Callable[[str], None], *, pause: float = 3.0) -> None:
    """Download files of a model's page into a folder; of several names the first that the page has. What is there already stays.

    Raises UserError where the page has none of them, or where one cannot be had.
    """
    listed = {it.path: it for it in _list(page, hub)}
    for names in wanted:
        if any((folder / name).is_file() for name in names):
            continue
        found = next((listed[name] for name in names if name in listed), None)
        if found is None:
            raise UserError(f"{page} has no file {' or '.join(f'`{name}`' for name in names)}", "look at its page in a browser", where=page)
        remote = _remote(page, found, found.path, hub)
        _one(remote.address, folder / remote.name, remote.expected, say, pause)


def _one(address: str, target: Path, expected: Expected, say: Callable[[str], None], pause: float) -> None:
    if target.exists():
        digest = files.sha256(target)
        if (expected.sha256 and digest != expected.sha256) or (expected.size and target.stat().st_size != expected.size):
            raise UserError("another file is there already", "move it away, or choose a place with --out", where=str(target))
        if not expected.sha256 and not expected.size:
            hint = "move it away to download it anew, or choose a place with --out"
            raise UserError("a file of this name is there already", hint, where=str(target))
        say(f"{target} is there already (SHA-256 {digest})")
        return
    say(f"{address}\n  -> {target}")
    digest = fetch.fetch(address, target, expected, fetch.Shown(say, "  "), pause=pause)
    say(f"SHA-256 {digest}" + (", as expected" if expected.sha256 else ""))


def _from_address(address: str, out: str) -> Remote:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UserError(f"`{address}` is neither a web address nor a name on the hub", _EXAMPLE)
    name = PurePosixPath(unquote(parts.path)).name
    if not out and not name.lower().endswith(SUFFIXES):
        message = f"this address does not end with a model's file name ({', '.join(SUFFIXES)})"
        raise UserError(message, "name the file: --out models/name.safetensors", where=address)
    return Remote(address, name, Expected())


def _hub_path(what: str, hub: str) -> str:
    """`owner/name` or `owner/name/file` of what may be a page of the hub; empty for anything else."""
    text = what
    if text.startswith((f"{hub}/", f"{hub.replace('https://', '')}/")):
        text = unquote(text.partition(hub.replace("https://", "") + "/")[2].partition("?")[0])
        text = re.sub(r"^([^/]+/[^/]+)/(?:blob|resolve|tree)/[^/]+/?", r"\1/", text).rstrip("/")
    return text if re.fullmatch(r"[\w.-]+/[\w.-]+(/[^:*?\"<>|\\]+)?", text) and ".." not in text.split("/") else ""


def _from_hub(path: str, hub: str) -> list[Remote]:
    """The files to get of a model's page."""
    owner, name, *rest = path.split("/", 2)
    page = f"{owner}/{name}"
    listed = _list(page, hub)
    if rest:
        chosen = [it for it in listed if it.path == rest[0]]
        if not chosen:
            raise UserError(f"{page} has no file `{rest[0]}`", _choices(page, listed), where=path)
        return [_remote(page, chosen[0], PurePosixPath(chosen[0].path).name, hub)]
    single = _single(listed)
    if len(single) == 1:
        return [_remote(page, single[0], single[0].path, hub)]
    folder = _diffusers(listed)
    if not single and folder:
        return [_remote(page, it, f"{name}/{it.path}", hub) for it in folder]
    raise UserError(f"{page} has {len(single)} files that may be a model", _choices(page, listed), where=path)


def _list(page: str, hub: str) -> list[HubFile]:
    answer = fetch.text(f"{hub}/api/models/{page}?blobs=true")
    try:
        entries = json.loads(answer)["siblings"]
        return [HubFile(it["rfilename"], int(it.get("size") or 0), (it.get("lfs") or {}).get("sha256", "")) for it in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "try a mirror, or download the file in a browser"
        raise UserError("the hub gives an answer that is not understood", hint, where=page) from error


def _single(listed: Sequence[HubFile]) -> list[HubFile]:
    """Models in one file, of the best kind that there is."""
    top = [it for it in listed if "/" not in it.path]
    by_kind = ([it for it in top if it.path.lower().endswith(suffix)] for suffix in SUFFIXES)
    return next((kind for kind in by_kind if kind), [])


def _diffusers(listed: Sequence[HubFile]) -> list[HubFile]:
    """The files of a model in the diffusers layout: texts, and the weights of each network, full ones before fp16; else none."""
    if not any(it.path == "model_index.json" for it in listed):
        return []
    chosen = [it for it in listed if it.path.endswith(_FOLDER_TEXTS) and it.path.count("/") <= 1]
    for part in _FOLDER_PARTS:
        weights = [it for it in listed if re.fullmatch(rf"{part}/[\w-]+(\.fp16)?\.safetensors", it.path)]
        chosen.extend(sorted(weights, key=lambda it: ".fp16." in it.path)[:1])
    return chosen


def _remote(page: str, file: HubFile, name: str, hub: str) -> Remote:
    return Remote(f"{hub}/{page}/resolve/main/{quote(file.path)}", name, Expected(file.sha256, file.size))


def _choices(page: str, listed: Sequence[HubFile]) -> str:
    """How to name one of a page's files."""
    some = [it for it in listed if it.path.lower().endswith(SUFFIXES)]
    if not some:
        return "it holds no model that can be used here; look at its page in a browser"
    lines = [f"python -m engine download {page}/{it.path}  ({it.size / 1e9:.2f} GB)" for it in some[:12]]
    return "choose one:\n  " + "\n  ".join(lines)
