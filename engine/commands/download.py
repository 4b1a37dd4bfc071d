"""`download`: a base model, a VAE, a tagger or a captioner into `models/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine import environment
from engine.commands.command import Command, say
from engine.config.field import setting
from engine.environment import ROOT
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.config.load import Loaded


@dataclass(frozen=True)
class Options:
    """What `download` takes."""

    model: tuple[str, ...] = setting(
        (), "a model's name on the hub (owner/name, owner/name/file), an address, `tagger NAME` or `captioner NAME`", behind="NAME"
    )
    sha256: str = setting(
        "", "refuse a file with another hash, 64 digits; left out: for a name the hub's own hash, for an address none", behind="HASH"
    )
    mirror: str = setting("", "ask this address in the hub's place; left out: what the variable HF_ENDPOINT says", behind="ADDRESS")
    out: str = setting("", "where the file goes; left out: a name of its own in models/", kind="path", behind="FILE")


def run(options: Options, loaded: Loaded) -> int:
    """Get it, check it and say what it is."""
    first, *more = options.model
    if first in KINDS:
        return _several(first, more, options)
    if more:
        raise UserError(f"one model at a time: {first}, and then {more[0]}", "several: `download tagger NAME`, `download captioner NAME`")
    from engine import downloads
    from engine.tools import download

    hub, mirror = downloads.read(ROOT)["hub"].base, downloads.hub(ROOT, options.mirror)
    found = download.run(first, ROOT / "models", hub, mirror=mirror, sha256=options.sha256, out=options.out, say=say)
    say(f'to train on it: pretrained_model_name_or_path = "{found.as_posix()}"')
    return 0


def _several(kind: str, names: Sequence[str], options: Options) -> int:
    """Get taggers or captioners."""
    from engine import downloads
    from engine.tools import labellers

    if options.sha256 or options.out:
        raise UserError(f"a {kind} is several files", "leave --sha256 and --out away", where=kind)
    if not names:
        raise UserError(f"which {kind}?", f"choose one of {', '.join(labellers.known(kind))}", where="model")
    for name in names:
        say(environment.as_typed(labellers.fetched(kind, name, ROOT / "models", downloads.hub(ROOT, options.mirror), say)))
    return 0


KINDS = ("tagger", "captioner")  # words in place of a model's name, behind which names of those stand

COMMAND = Command(
    name="download",
    help="get a base model, a VAE, a tagger or a captioner into models/",
    example="download stable-diffusion-v1-5/stable-diffusion-v1-5",
    options=Options,
    run=run,
    bare="model",
    needs=("model",),
)
