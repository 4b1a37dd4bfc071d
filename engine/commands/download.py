"""`download`: a base model, a VAE, a tagger or a captioner into `models/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine import environment
from engine.commands.command import Command, say
from engine.config.field import setting
from engine.environment import ROOT
from engine.errors import UserError

if TYPE_CHECKING:
    from engine.config.load import Loaded

TAGGER, CAPTIONER = "tagger", "captioner"  # in place of a model's name: what follows are names of those


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
    from engine import downloads

    first, *more = options.model
    if first == TAGGER:
        return _tagger(more, options)
    if first == CAPTIONER:
        return _captioner(more, options)
    if more:
        raise UserError(
            f"one model at a time: {first}, and then {more[0]}",
            "a tagger is got by `download tagger NAME`, a captioner by `download captioner NAME`",
        )
    from engine.tools import download

    hub, mirror = downloads.read(ROOT)["hub"].base, downloads.hub(ROOT, options.mirror)
    found = download.run(first, ROOT / "models", hub, mirror=mirror, sha256=options.sha256, out=options.out, say=say)
    say(f'to train on it: pretrained_model_name_or_path = "{found.as_posix()}"')
    return 0


def _tagger(names: list[str], options: Options) -> int:
    """Get taggers into `models/taggers/`."""
    from engine import downloads
    from engine.taggers import models
    from engine.tools.tag import model

    if options.sha256 or options.out:
        raise UserError("a tagger is several files", "leave --sha256 and --out away", where=TAGGER)
    if not names:
        raise UserError("which tagger?", f"one or several of {', '.join(row.name for row in models.TAGGERS)}", where=TAGGER)
    for row in [models.find(name) for name in names]:
        place = ROOT / "models" / "taggers" / row.name
        model.fetched(row, place, downloads.hub(ROOT, options.mirror), say)
        say(environment.as_typed(f"to tag with it: python -m engine tag FOLDER --repo_id {row.name}"))
    return 0


def _captioner(names: list[str], options: Options) -> int:
    """Get captioners into `models/captioners/`."""
    from engine import captioners, downloads
    from engine.tools.caption import model

    if options.sha256 or options.out:
        raise UserError("a captioner is several files", "leave --sha256 and --out away", where=CAPTIONER)
    if not names:
        raise UserError("which captioner?", f"one or several of {', '.join(row.name for row in captioners.CAPTIONERS)}", where=CAPTIONER)
    for row in [captioners.row(name) for name in names]:
        model.fetched(row, ROOT / "models" / captioners.FOLDER / row.name, downloads.hub(ROOT, options.mirror), say)
        say(environment.as_typed(f"to use it: python -m engine caption FOLDER --model {row.name}"))
    return 0


COMMAND = Command(
    name="download",
    help="get a base model, a VAE, a tagger or a captioner into models/",
    example="download stable-diffusion-v1-5/stable-diffusion-v1-5",
    options=Options,
    run=run,
    bare="model",
    needs=("model",),
)
