"""Caption text -> caption text: prefix, dropout, wildcards, shuffling. The order is the one that sd-scripts documents.

Pure: the random draws come from the generator that is handed in, so the same generator gives the same caption.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


@dataclass(frozen=True)
class CaptionOptions:
    """How one subset's captions are treated; the names are sd-scripts'. Rates are probabilities in 0..1, epochs count from 1."""

    shuffle_caption: bool = False
    keep_tokens: int = 0  # tags at the front that stay where they are
    keep_tokens_separator: str = ""  # or: what stands before it stays in front, what stands after a second one stays last
    caption_separator: str = ","
    secondary_separator: str = ""  # binds tags into one; becomes `caption_separator` at the very end
    enable_wildcard: bool = False
    caption_prefix: str = ""
    caption_suffix: str = ""
    caption_dropout_rate: float = 0.0
    caption_dropout_every_n_epochs: int = 0
    caption_tag_dropout_rate: float = 0.0
    token_warmup_min: int = 1
    token_warmup_step: float = 0  # optimizer steps; below 1 it is a fraction of the whole run

    @property
    def joiner(self) -> str:
        """What stands between tags that were taken apart and are put together again."""
        return ", " if self.caption_separator == "," else self.caption_separator


def render(caption: str, options: CaptionOptions, rng: random.Random, *, epoch: int = 1, step: int = 0, max_steps: int = 0) -> str:
    """The caption that the text encoder sees for one sample.

    `caption` is the file's whole text; without wildcards its first line with text counts. `epoch` counts from 1, `step` (finished
    optimizer steps) from 0; `max_steps` is the run's length, for a token warm-up given as a fraction.

    Unlike sd-scripts: prefix and suffix go to every line, not to the first and the last of a text of several lines; the
    `keep_tokens_separator` never stays in the caption; tags are joined with `caption_separator`.

    >>> render("sks dog, grass, sun", CaptionOptions(caption_prefix="photo of"), random.Random(0))
    'photo of sks dog, grass, sun'
    >>> render("a, b, c, d", CaptionOptions(shuffle_caption=True, keep_tokens=1), random.Random(1))
    'a, d, c, b'
    >>> render("a, b ||| c;;;d, e", CaptionOptions(keep_tokens_separator="|||", secondary_separator=";;;"), random.Random(0))
    'a, b, c,d, e'
    >>> render("a {red|blue} {{dog}}", CaptionOptions(enable_wildcard=True), random.Random(0))
    'a blue {dog}'
    >>> render("a dog", CaptionOptions(caption_dropout_every_n_epochs=2), random.Random(0), epoch=4)
    ''
    """
    if rng.random() < options.caption_dropout_rate or _dropout_epoch(options, epoch):
        return ""
    lines = _lines(caption, options)
    text = lines[0]
    if options.enable_wildcard:
        text = _fill_wildcards(rng.choice(lines) if len(lines) > 1 else text, rng)
    if _takes_apart(text, options):
        fixed, flexible, last = split(text, options)
        flexible = flexible[: _warmed_up(len(flexible), options, step, max_steps)]
        if options.shuffle_caption:
            rng.shuffle(flexible)
        if options.caption_tag_dropout_rate > 0:
            flexible = [tag for tag in flexible if rng.random() >= options.caption_tag_dropout_rate]
        text = options.joiner.join([*fixed, *flexible, *last])
    if options.secondary_separator:
        text = text.replace(options.secondary_separator, options.caption_separator)
    return text


def varies(caption: str, options: CaptionOptions) -> bool:
    """Whether two draws, or two epochs, can give different texts for this caption.

    >>> varies("a, b, c", CaptionOptions(shuffle_caption=True)), varies("a", CaptionOptions(shuffle_caption=True))
    (True, False)
    """
    if options.caption_dropout_rate > 0 or options.caption_dropout_every_n_epochs > 0:
        return True
    lines = _lines(caption, options)
    if options.enable_wildcard and (len(set(lines)) > 1 or any("|" in hit for line in lines for hit in _BRACES.findall(line))):
        return True
    for line in lines:
        flexible = split(line, options)[1]
        if flexible and (options.caption_tag_dropout_rate > 0 or options.token_warmup_step > 0):
            return True
        if options.shuffle_caption and len(set(flexible)) > 1:
            return True
    return False


def split(text: str, options: CaptionOptions) -> tuple[list[str], list[str], list[str]]:
    """A caption line as tags: those that stay in front, those that may move or vanish, those that stay last.

    >>> split("a, b, c", CaptionOptions(keep_tokens=1))
    (['a'], ['b', 'c'], [])
    >>> split("a ||| b, c ||| d", CaptionOptions(keep_tokens_separator="|||"))
    (['a'], ['b', 'c'], ['d'])
    """
    mark = options.keep_tokens_separator
    if mark and mark in text:
        before, _, rest = text.partition(mark)
        middle, _, after = rest.partition(mark)
        after = after.replace(mark, options.caption_separator)
        return _tags(before, options), _tags(middle, options), _tags(after, options)
    tags = [tag.strip() for tag in text.strip().split(options.caption_separator)]
    fixed = tags[: max(options.keep_tokens, 0)]
    return fixed, [tag for tag in tags[len(fixed) :] if tag], []


def fixed_text(caption: str, options: CaptionOptions) -> str:
    """The caption with nothing dropped, shuffled or warmed up, and the first choice of every wildcard: for reports and token counts.

    >>> fixed_text("a, {b|c}", CaptionOptions(enable_wildcard=True, shuffle_caption=True, caption_prefix="p"))
    'p a, b'
    """
    text = _lines(caption, options)[0]
    if options.enable_wildcard:
        text = _BRACES.sub(lambda hit: _literal(hit) or hit.group(1).split("|")[0], text)
    if options.keep_tokens_separator and options.keep_tokens_separator in text:
        text = options.joiner.join(tag for part in split(text, options) for tag in part)
    return text.replace(options.secondary_separator, options.caption_separator) if options.secondary_separator else text


def _lines(caption: str, options: CaptionOptions) -> list[str]:
    """The lines that may be drawn, with prefix and suffix; never empty."""
    lines = [line.strip() for line in caption.split("\n") if line.strip()] or [""]
    if not options.enable_wildcard:
        lines = lines[:1]
    return [" ".join(part for part in (options.caption_prefix, line, options.caption_suffix) if part) for line in lines]


def _dropout_epoch(options: CaptionOptions, epoch: int) -> bool:
    """Whether this is an epoch without captions."""
    return options.caption_dropout_every_n_epochs > 0 and epoch % options.caption_dropout_every_n_epochs == 0


def _takes_apart(text: str, options: CaptionOptions) -> bool:
    """Whether the line must be split into tags at all; otherwise its spacing stays as it was written."""
    separated = bool(options.keep_tokens_separator) and options.keep_tokens_separator in text
    return separated or options.shuffle_caption or options.token_warmup_step > 0 or options.caption_tag_dropout_rate > 0


def _warmed_up(count: int, options: CaptionOptions, step: int, max_steps: int) -> int:
    """How many of `count` flexible tags are already in use at this step."""
    whole = options.token_warmup_step
    if 0 < whole < 1:
        whole = math.floor(whole * max_steps)
    if step >= whole:
        return count
    return max(math.floor(step * (count - options.token_warmup_min) / whole) + options.token_warmup_min, 0)


def _fill_wildcards(text: str, rng: random.Random) -> str:
    """Each `{a|b}` replaced by one of its members; doubled braces are literal ones. Not nested."""
    return _BRACES.sub(lambda hit: _literal(hit) or rng.choice(hit.group(1).split("|")), text)


def _literal(hit: re.Match[str]) -> str:
    """The single brace that a doubled one stands for, or nothing."""
    return hit.group(0)[0] if hit.group(0) in ("{{", "}}") else ""


def _tags(text: str, options: CaptionOptions) -> list[str]:
    """The tags of a piece of caption, without empty ones."""
    return [tag.strip() for tag in text.split(options.caption_separator) if tag.strip()]
