"""The options of `tag`, by other taggers' names for them.

The names are those of lora-scripts' and sd-scripts' taggers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.config.field import setting
from engine.errors import UserError


def _threshold(category: str, otherwise: str) -> Any:  # as dataclasses.field: the real type is the field's annotation
    return setting(None, f"lowest score of a tag of the category {category}; above 1: none is written; left out: {otherwise}", low=0)


def _place(what: str, where: str) -> Any:
    return setting(False, f"the likeliest {what} as the {where} tag")


@dataclass(frozen=True)
class Options:
    """What `tag` takes."""

    train_data_dir: str | None = setting(
        None, "folder of pictures: its own, and those in its <repeats>_<text> folders", kind="path", behind="FOLDER"
    )
    repo_id: str = setting("wd-swinv2-v3", "which tagger: its name, or its page on the hub", behind="NAME")
    model_dir: str = setting("", "folder of the taggers; left out: models/taggers", kind="path", behind="FOLDER")
    recursive: bool = setting(False, "the pictures of all folders below, too")
    caption_extension: str = setting(".txt", "ending of the caption files", kind="extension")
    caption_extention: str = setting("", "the same, as sd-scripts once spelled it; left out: caption_extension", kind="extension")
    append_tags: bool = setting(False, "add tags to captions that exist, which are skipped otherwise")
    overwrite: bool = setting(False, "write captions that exist anew, which are skipped otherwise")
    trigger: str = setting("", "trigger word in front of the tags; left out: none")
    thresh: float | None = setting(None, "lowest score of a tag of any category; left out: the tagger's own", low=0, high=1)
    general_threshold: float | None = _threshold("general", "thresh")
    character_threshold: float | None = _threshold("character", "thresh")
    copyright_threshold: float | None = _threshold("copyright", "thresh")
    artist_threshold: float | None = _threshold("artist", "thresh, of categories")
    meta_threshold: float | None = _threshold("meta", "thresh, of categories")
    model_threshold: float | None = _threshold("model", "thresh, of categories")
    tag_thresholds: str = setting("", "lowest scores of single tags, `long hair=0.6, smile=0.2`; left out: none")
    categories: tuple[str, ...] = setting(
        (), "what is written; left out: general, character, copyright and those with a threshold",
        choices=("general", "character", "copyright", "artist", "meta", "model", "year"), behind="CATEGORY",
    )  # fmt: skip
    use_rating_tags: bool = _place("rating", "first")
    use_rating_tags_as_last_tag: bool = _place("rating", "last")
    use_quality_tags: bool = _place("quality", "first")
    use_quality_tags_as_last_tag: bool = _place("quality", "last")
    undesired_tags: str = setting("", "tags that are left away, `tag, tag`; left out: none")
    tag_replacement: str = setting("", r"tags written as others, `old,new;old,new`, a comma in a tag as \,; left out: none")
    always_first_tags: str = setting("", "tags that go to the front where they are found, `tag, tag`; left out: none")
    character_tags_first: bool = setting(False, "characters before all other tags")
    character_tag_expand: bool = setting(False, "write `name_(series)` of a character as two tags, `name, series`")
    remove_underscore: bool = setting(False, "spaces for underscores, as prompts have them; faces such as ^_^ keep theirs")
    order: str = setting(
        "score", "order of the tags: by score, as the model lists them, or by name", choices=("score", "model", "name"), behind="ORDER"
    )
    max_tags: int = setting(0, "at most so many tags, the first in that order; 0: all", low=0)
    caption_separator: str = setting(", ", "what stands between two tags")
    batch_size: int = setting(4, "pictures that the tagger looks at together", low=1)
    max_data_loader_n_workers: int = setting(0, "threads that decode pictures; 0: one a processor, at most 8", low=0)
    frequency_tags: bool = setting(False, "show how often each tag was given")
    output_path: str = setting("", "write all into this .json or .jsonl; left out: a file a picture", kind="path", behind="FILE")
    debug: bool = setting(False, "show each picture's tags with their scores")
    force_download: bool = setting(False, "download the tagger again")
    onnx: bool = setting(False, "no effect: taggers always run as ONNX files")
    cpu: bool = setting(False, "use the processor where a graphics card could be used, too")
    cache_dir: str = setting("cache", "folder where scores are kept, by picture and tagger", kind="path", behind="FOLDER")

    @property
    def extension(self) -> str:
        """The ending of the caption files."""
        return self.caption_extention or self.caption_extension

    @property
    def separator(self) -> str:
        """What separates the words of a list that is given as one text."""
        return self.caption_separator.strip() or ","

    def listed(self, text: str) -> tuple[str, ...]:
        """The tags of a list that is given as one text."""
        return tuple(tag.strip() for tag in text.split(self.separator) if tag.strip())

    def category_thresholds(self) -> dict[str, float]:
        """The thresholds that are given, by category."""
        given = {
            "general": self.general_threshold,
            "character": self.character_threshold,
            "copyright": self.copyright_threshold,
            "artist": self.artist_threshold,
            "meta": self.meta_threshold,
            "model": self.model_threshold,
        }
        return {category: value for category, value in given.items() if value is not None}

    def wanted_categories(self) -> tuple[str, ...]:
        """The categories whose tags are written."""
        return self.categories or tuple(dict.fromkeys(("general", "character", "copyright", *self.category_thresholds())))


def single_thresholds(listed: tuple[str, ...]) -> Mapping[str, float]:
    """The lowest scores of single tags. Raises UserError where one is no number."""
    found = {}
    for word in listed:
        tag, equals, number = word.rpartition("=")
        try:
            found[tag.strip()] = float(number)
        except ValueError:
            equals = ""
        if not equals or not tag.strip():
            raise UserError(f"`{word}` is not `tag=score`", "write it as `long hair=0.6, smile=0.2`", where="tag_thresholds")
    return found


def replacements(text: str) -> Mapping[str, str]:
    r"""Tags and what is written for them, of `old,new;old,new`. Raises UserError where one is no pair.

    >>> replacements(r"a,b;c\,d,e")
    {'a': 'b', 'c,d': 'e'}
    """
    found = {}
    for pair in filter(str.strip, text.replace(r"\,", "\0").replace(r"\;", "\1").split(";")):
        parts = [part.replace("\0", ",").replace("\1", ";").strip() for part in pair.split(",")]
        if len(parts) != 2 or not parts[0]:
            shown = pair.replace("\0", r"\,").replace("\1", r"\;")
            raise UserError(
                f"`{shown}` is not `old,new`", r"write it as `old,new;old,new`, a comma in a tag as \,", where="tag_replacement"
            )
        found[parts[0]] = parts[1]
    return found
