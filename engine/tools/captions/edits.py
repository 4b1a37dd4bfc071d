"""Caption text -> caption text, for each thing that `captions` does. Pure; tags are told from sentences line by line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from engine.taggers.words import normal, spaced

_LONG = 8  # words in a row without a comma that no tag has
_SHORT = 4  # words before a full stop inside a tag that no tag has: `super smash bros. ultimate`
_SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f][\"'\u201d\u2019)]?\s*$")
_AFTER_SENTENCE = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+")
_CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
_FULL_WIDTH = {
    "\uff0c": ", ", "\u3001": ", ", "\uff1b": "; ", "\uff1a": ": ", "\u3002": ". ", "\uff0e": ". ", "\uff01": "! ", "\uff1f": "? ",
    "\uff08": " (", "\uff09": ") ", "\uff3b": "[", "\uff3d": "]", "\u300c": ' "', "\u300d": '" ', "\u201c": '"', "\u201d": '"',
    "\u2018": "'", "\u2019": "'", "\uff5e": "~", "\uff0d": "-", "\uff0f": "/", "\uff3f": "_", "\u3000": " ",
}  # fmt: skip
Keep = Callable[[str], bool]  # whether a tag stays


def split(line: str) -> list[str]:
    """The tags of a line, without empty ones.

    >>> split("a, b,, c ")
    ['a', 'b', 'c']
    """
    return [tag.strip() for tag in line.split(",") if tag.strip()]


def join(tags: Iterable[str]) -> str:
    """Tags as a line."""
    return ", ".join(tags)


def is_sentence(line: str) -> bool:
    """Whether a line is prose. Prose is told by its end, also with a tag behind it, or by a run of words that is too long to be a tag.

    >>> is_sentence("1girl, solo, looking at viewer"), is_sentence("a girl with long hair standing in a field"), is_sentence("1girl, ...")
    (False, True, False)
    >>> is_sentence("a girl stands in the rain. night, solo")
    True
    """
    pieces = split(line)
    words = max((len(piece.split()) for piece in pieces), default=0)
    cjk = max((len(_CJK.findall(piece)) for piece in pieces), default=0)
    ended = bool(_SENTENCE_END.search(line)) and (words >= 3 or cjk >= 5)
    sentences = [sentence for piece in pieces for sentence in _AFTER_SENTENCE.split(piece)[:-1]]
    inside = any(len(sentence.split()) >= _SHORT or len(_CJK.findall(sentence)) >= 5 for sentence in sentences)
    return ended or inside or words >= _LONG or cjk >= 16


def tags_of(text: str) -> list[str]:
    """All tags of a caption in their order; those of prose are none."""
    return [tag for line in text.split("\n") if not is_sentence(line) for tag in split(line)]


def has_sentences(text: str) -> bool:
    """Whether a line of the caption is prose, which edits of tags leave as it is."""
    return any(is_sentence(line) for line in text.split("\n"))


def add(text: str, tags: Sequence[str], *, front: bool = False) -> str:
    """With these tags too, in each line that lacks them: at its end, or in front.

    >>> add("1girl, solo", ["night", "Solo"]), add("a girl sits.", ["sks"], front=True), add("", ["a"])
    ('1girl, solo, night', 'sks, a girl sits.', 'a')
    """

    def added(line: str) -> str:
        there = {normal(tag) for piece in split(line) for tag in (piece, *_AFTER_SENTENCE.split(piece)[1:])}
        new = [tag for tag in tags if normal(tag) not in there]
        if not new:
            return line
        if front:
            return join([*new, *([line.strip()] if is_sentence(line) else split(line))])
        return f"{line.rstrip()} {join(new)}" if _SENTENCE_END.search(line) and is_sentence(line) else join([*split(line), *new])

    return _lines(text, added) if text.strip() else join(dict.fromkeys(tags))


def to_front(text: str, tags: Sequence[str], *, add_missing: bool = False, spelled: bool = False) -> str:
    """With these tags in front, in this order: those that stand in the line, or, with `add_missing`, all.

    `spelled`: as they are written here, and not as they are written there.

    >>> to_front("1girl, hatsune miku", ["Hatsune_Miku"], spelled=True), to_front("a, b", ["c", "b"])
    ('Hatsune_Miku, 1girl', 'b, a')
    >>> to_front("a", ["b"], add_missing=True)
    'b, a'
    """
    wanted = {normal(tag): tag for tag in tags}

    def moved(line: str) -> str:
        found = {normal(tag): tag for tag in reversed(split(line)) if normal(tag) in wanted}
        first = [tag if spelled else found.get(key, tag) for key, tag in wanted.items() if key in found or add_missing]
        if not found:
            return join([*first, line.strip()]) if first else line
        return join([*first, *(tag for tag in split(line) if normal(tag) not in wanted)])

    return _lines(text, moved) if text.strip() or not add_missing else join(tags)


def keep(text: str, stays: Keep) -> str:
    """Without the tags that do not stay; prose is left.

    >>> keep("a, b, c", lambda tag: tag != "b"), keep("b", lambda tag: tag != "b")
    ('a, c', '')
    """

    def kept(line: str) -> str:
        tags = split(line)
        left = [tag for tag in tags if stays(tag)]
        return line if len(left) == len(tags) else join(left)

    return _lines(text, kept, prose=False)


def remove(text: str, tags: Iterable[str]) -> str:
    """Without these tags.

    >>> remove("1girl, Long_Hair, hat", ["long hair"])
    '1girl, hat'
    """
    unwanted = {normal(tag) for tag in tags}
    return keep(text, lambda tag: normal(tag) not in unwanted)


def replace(text: str, old: str, new: str) -> str:
    """With a text in place of another, wherever it stands, also within a tag.

    >>> replace("blue hair, blue eyes", "blue", "red"), replace("a, b, c", "b", "")
    ('red hair, red eyes', 'a, c')
    """
    return _tidied(text, text.replace(old, new))


def replace_pattern(text: str, pattern: re.Pattern[str], new: str) -> str:
    r"""With what a regular expression finds replaced; `\1` is what its first bracket found.

    >>> replace_pattern("2girls, 3boys", re.compile(r"\d+(girl|boy)s"), r"multiple \1s")
    'multiple girls, multiple boys'
    """
    return _tidied(text, pattern.sub(new, text))


def merge(text: str, keep_name: str, others: Iterable[str]) -> str:
    """With one name for several: as whole tags, and in prose as whole words.

    >>> merge("women, hat, woman", "girl", ["woman", "women"]), merge("Two women stand in the rain.", "girl", ["women"])
    ('girl, hat', 'Two girl stand in the rain.')
    """
    names = {normal(other) for other in others} - {normal(keep_name)}
    words = re.compile(r"\b(?:" + "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) + r")\b", re.IGNORECASE)

    def merged(line: str) -> str:
        if is_sentence(line):
            return words.sub(lambda found: keep_name, line) if names else line
        tags = split(line)
        renamed = [keep_name if normal(tag) in names else tag for tag in tags]
        return line if renamed == tags else join(once(renamed))

    return _lines(text, merged)


def deduplicate(text: str) -> str:
    """Each tag once, where it stood first.

    >>> deduplicate("a, b, A, c_d, c d")
    'a, b, c_d'
    """

    def changed(line: str) -> str:
        tags = split(line)
        left = once(tags)
        return line if len(left) == len(tags) else join(left)

    return _lines(text, changed, prose=False)


def sort(text: str, keep_tokens: int = 0) -> str:
    """Tags in the order of the alphabet, but for the first few.

    >>> sort("sks, c, B, a", 1)
    'sks, a, B, c'
    """

    def sorted_line(line: str) -> str:
        tags = split(line)
        ordered = [*tags[:keep_tokens], *sorted(tags[keep_tokens:], key=normal)]
        return line if ordered == tags else join(ordered)

    return _lines(text, sorted_line, prose=False)


def half_width(text: str) -> str:
    """Punctuation as on a Western keyboard, so that a full-width comma separates tags too.

    >>> half_width("1girl\uff0c hat\u3001\u732b\uff08\u767d\uff09")
    '1girl, hat, \u732b (\u767d)'
    """
    changed = "".join(_FULL_WIDTH.get(character, character) for character in text)
    return text if changed == text else "\n".join(_spaced(line) for line in changed.split("\n"))


def clean_sentence(line: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str:
    """Prose by the rules of a file, then with its spaces and punctuation in order.

    >>> clean_sentence("a girl  standing , in a field ..", [])
    'a girl standing, in a field.'
    """
    for pattern, new in rules:
        line = pattern.sub(new, line)
    line = re.sub(r"([,.;:!?])(?:\s*\1)+", r"\1", line)
    return _spaced(line).lstrip(",.;:!? ")


def clean_tag(tag: str, *, underscores: bool) -> str:
    """A tag with spaces for underscores, but for signs that are made of them.

    >>> clean_tag("long__hair ", underscores=True), clean_tag("^_^", underscores=True)
    ('long hair', '^_^')
    """
    return " ".join((spaced(tag) if underscores else tag).split())


def clean(text: str, rules: Sequence[tuple[re.Pattern[str], str]], drop: Keep, *, underscores: bool) -> str:
    """A caption by the rules of a file: its prose, and its tags, each of them once. `drop` says which tags go."""

    def cleaned(line: str) -> str:
        if is_sentence(line):
            return clean_sentence(line, rules)
        return join(once([clean_tag(tag, underscores=underscores) for tag in split(line) if not drop(tag)]))

    return _lines(text, cleaned)


def escaped(name: str) -> str:
    r"""A tag as it is written in a prompt, where brackets alone would be emphasis.

    >>> escaped("King George V (uniform)")
    'King George V \\(uniform\\)'
    """
    return re.sub(r"(?<!\\)([()\[\]])", r"\\\1", name)


def loses(old: str, new: str) -> bool:
    """Whether a change removes or replaces text: some piece of the old caption is not in the new one.

    Another order, spaces and additions do not count.

    >>> loses("a, b", "b, a, c"), loses("a, b", "a"), loses("a, a", "a")
    (False, True, True)
    """
    left = [piece for line in new.split("\n") for piece in split(line)]
    for piece in (piece for line in old.split("\n") for piece in split(line)):
        found = next((at for at, other in enumerate(left) if other == piece or other.startswith(f"{piece} ")), None)
        if found is None:
            return True
        left.pop(found)
    return False


def once(tags: Iterable[str]) -> list[str]:
    """Tags, each where it stands first."""
    first: dict[str, str] = {}
    for tag in tags:
        first.setdefault(normal(tag), tag)
    return [tag for key, tag in first.items() if key]


def _spaced(line: str) -> str:
    """Single spaces, none before punctuation and none inside brackets."""
    line = re.sub(r"\s+", " ", line)
    line = re.sub(r" +([,.;:!?)\]])(?= |$|[,.;:!?)\]])", r"\1", line)
    return re.sub(r"([(\[]) +", r"\1", line).strip()


def _tidied(before: str, after: str) -> str:
    """Tags put together again where a replacement has left one empty."""
    if after == before:
        return before
    return _lines(after, lambda line: join(split(line)) if any(not piece.strip() for piece in line.split(",")) else line, prose=False)


def _lines(text: str, edit: Callable[[str], str], *, prose: bool = True) -> str:
    """Each line with something in it changed; a line that becomes empty goes, and the end of the file stays."""
    lines = []
    for line in text.split("\n"):
        changed = edit(line) if line.strip() and (prose or not is_sentence(line)) else line
        if changed.strip() or not line.strip():
            lines.append(changed)
    return "\n".join(lines)
