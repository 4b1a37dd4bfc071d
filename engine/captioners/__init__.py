"""Models that describe a picture in a sentence: one row each.

Imports no torch, so that `--help` and the choice of one stay quick.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import find_row

FOLDER = "captioners"  # below `models/`
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))  # mean and deviation of CLIP's pictures
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Task:
    """What a model is asked. `prompt` is what it reads; its caption comes after that, or instead of it."""

    name: str
    prompt: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Captioner:
    """One model: where it comes from, how it takes a picture, what it can be asked, and how its words are chosen.

    The picture is stretched to a square of `side` pixels by BICUBIC; its values in 0..1 are reduced by `mean` and divided by `deviation`.
    """

    name: str
    help: str
    repo: str  # on the hub
    gigabytes: float  # what is downloaded, about
    model_type: str  # what its config.json says
    side: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    tasks: tuple[Task, ...]  # the first is the default
    token: str  # a token of its own, by which its tokenizer.json is told from another model's
    num_beams: int  # paths of the search that is made unless settings say otherwise; 1: words are drawn
    repetition_penalty: float = 1.0  # while words are drawn
    no_repeat_ngram_size: int = 0
    aliases: tuple[str, ...] = ()

    def task(self, name: str) -> Task:
        """The task of that name, the first where it is empty. Raises UserError for an unknown one."""
        return find_row(self.tasks, name, f"task of {self.name}", "--task") if name else self.tasks[0]


CAPTIONERS: tuple[Captioner, ...] = (
    Captioner(
        name="blip-large",
        help="BLIP: one short sentence; the model of sd-scripts' make_captions",
        repo="Salesforce/blip-image-captioning-large",
        gigabytes=1.9,
        model_type="blip",
        side=384,
        mean=_CLIP[0],
        deviation=_CLIP[1],
        tasks=(Task("caption", "a picture of"),),  # the words that its training put before every caption
        token="[SEP]",
        num_beams=1,
        repetition_penalty=1.1,
        aliases=("blip", "Salesforce/blip-image-captioning-large"),
    ),
    Captioner(
        name="florence-2-base",
        help="Florence-2: a sentence, several, or a paragraph (--task); small and quick",
        repo="florence-community/Florence-2-base",
        gigabytes=0.6,
        model_type="florence2",
        side=768,
        mean=_IMAGENET[0],
        deviation=_IMAGENET[1],
        tasks=(
            Task("caption", "What does the image describe?", ("<CAPTION>",)),
            Task("detailed", "Describe in detail what is shown in the image.", ("<DETAILED_CAPTION>",)),
            Task("more_detailed", "Describe with a paragraph what is shown in the image.", ("<MORE_DETAILED_CAPTION>",)),
        ),
        token="<image>",
        num_beams=3,
        no_repeat_ngram_size=3,
        aliases=("florence", "florence-2", "florence-community/Florence-2-base"),
    ),
)


def row(name: str) -> Captioner:
    """The row of that name. Raises UserError for an unknown one."""
    return find_row(CAPTIONERS, name, "captioner", "--model")
