"""`download`: a base model or a VAE into `models/`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.commands.command import Command, say
from engine.config.field import setting
from engine.environment import ROOT

if TYPE_CHECKING:
    from engine.config.load import Loaded


@dataclass(frozen=True)
class Options:
    """What `download` takes."""

    model: str | None = setting(None, "a model's name on the hub (owner/name, owner/name/file) or an address", behind="NAME")
    sha256: str = setting(
        "", "refuse a file with another hash, 64 digits; left out: for a name the hub's own hash, for an address none", behind="HASH"
    )
    mirror: str = setting("", "ask this address in the hub's place; left out: what the variable HF_ENDPOINT says", behind="ADDRESS")
    out: str = setting("", "where the file goes; left out: a name of its own in models/", kind="path", behind="FILE")


def run(options: Options, loaded: Loaded) -> int:
    """Get it, check it and say what it is."""
    from engine import downloads
    from engine.tools import download

    hub = downloads.read(ROOT)["hub"].base
    mirror = (options.mirror or os.environ.get("HF_ENDPOINT", "")).rstrip("/")
    found = download.run(options.model or "", ROOT / "models", hub, mirror=mirror, sha256=options.sha256, out=options.out, say=say)
    say(f'to train on it: pretrained_model_name_or_path = "{found.as_posix()}"')
    return 0


COMMAND = Command(
    name="download",
    help="get a base model or a VAE into models/",
    example="download stable-diffusion-v1-5/stable-diffusion-v1-5",
    options=Options,
    run=run,
    bare="model",
    needs=("model",),
)
