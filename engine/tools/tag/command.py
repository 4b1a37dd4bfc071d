"""The work of `tag`: folder and tagger -> captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from engine.console import Reporter
from engine.errors import UserError, plural
from engine.taggers import choose, models, run
from engine.taggers.choose import Choice, Chosen
from engine.taggers.models import Tagger
from engine.taggers.words import normal
from engine.tools.labelling import Ask, pictures
from engine.tools.labelling.captions import Style, run_name
from engine.tools.labelling.pictures import Picture
from engine.tools.tag.look import look
from engine.tools.tag.model import Ready, obtain, ready
from engine.tools.tag.options import Options, replacements, single_thresholds
from engine.tools.tag.output import ListFile, Output, TagFiles
from engine.tools.tag.scores import Scores


def tag(options: Options, models_folder: Path, hub: str, reporter: Reporter, ask: Ask | None) -> int:
    """Write the captions; the exit status: 1 where no picture could be read. `ask` asks whether to download, None where nobody can be."""
    row = models.find(options.repo_id)
    choice = chosen(options, row)
    found = pictures.find(Path(options.train_data_dir or ""), options.extension, recursive=options.recursive)
    for note in found.notes:
        reporter.notice(note)
    output = _output(options, row, choice, found.pictures, reporter)
    if not output.todo:
        output.finish()
        reporter.say("every picture has its caption; --append_tags adds to them, --overwrite writes them anew")
        return 0
    folder = Path(options.model_dir) if options.model_dir else models_folder
    cache = Path(options.cache_dir)
    place = obtain(row, folder, hub, reporter.say, ask, again=options.force_download)
    tagger = ready(row, place, cache, reporter.notice, cpu=options.cpu)
    with Scores(cache) as kept, output:
        for note in kept.notes:
            reporter.notice(note)
        return _all(options, choice, tagger, kept, output, reporter)


def _output(options: Options, row: Tagger, choice: Choice, found: Sequence[Picture], reporter: Reporter) -> Output:
    """Where the captions go. Raises UserError where they cannot."""
    if options.append_tags and options.overwrite:
        raise UserError("captions that exist can be added to or written anew, not both", "leave one away", where="append_tags, overwrite")
    trigger = options.listed(options.trigger)
    style = Style(options.append_tags, options.overwrite, options.caption_separator, "--append_tags, --overwrite")
    if options.output_path:
        return ListFile(Path(options.output_path), found, style, trigger)
    return TagFiles(found, style, trigger, run_name(f"tag by {row.name}", choice, trigger, style, options.extension), reporter)


def _all(options: Options, choice: Choice, tagger: Ready, kept: Scores, output: Output, reporter: Reporter) -> int:
    """Look at the pictures one after another, and write."""
    labels, todo = tagger.labels, output.todo
    lowest = min((*choice.thresholds.values(), *choice.tag_thresholds.values()), default=1.0)
    counts: Counter[str] = Counter()
    unread = written = 0
    with reporter.counting("pictures tagged", len(todo), "ready") as counter:
        looked = look(
            todo, tagger, kept,
            batch=options.batch_size, threads=options.max_data_loader_n_workers, lowest=lowest, sizes=bool(options.output_path),
        )  # fmt: skip
        for done, one in enumerate(looked, 1):
            if one.scores is None:
                reporter.notice(f"{one.picture.path}: skipped: {one.problem}")
                unread += 1
            else:
                tags = choose.choose(one.scores, labels, choice)
                counts.update(tag.text for tag in tags)
                written += output.take(one, tags)
                if options.debug:
                    reporter.say(_debug(one.picture, tags))
            counter.at(done, len(todo))
    output.finish()
    ran = f"{tagger.row.name} ran on {run.SHOWN[tagger.provider]}" if tagger.provider else "all scores were kept from earlier runs"
    reporter.say(f"{plural(written, 'caption')} written; {ran}")
    if options.frequency_tags:
        reporter.say(frequencies(counts))
    return 1 if unread == len(todo) else 0


def chosen(options: Options, row: Tagger) -> Choice:
    """What the options ask of the scores. Raises UserError where one cannot be read."""
    wanted = choose.thresholds(row.thresholds, options.thresh, options.category_thresholds(), options.wanted_categories())
    single = single_thresholds(options.listed(options.tag_thresholds))
    return Choice(
        thresholds=wanted,
        tag_thresholds={normal(tag): lowest for tag, lowest in single.items()},
        undesired=frozenset(normal(tag) for tag in options.listed(options.undesired_tags)),
        replacements={normal(tag): new for tag, new in replacements(options.tag_replacement).items()},
        always_first=options.listed(options.always_first_tags),
        rating=_place(options.use_rating_tags, options.use_rating_tags_as_last_tag),
        quality=_place(options.use_quality_tags, options.use_quality_tags_as_last_tag),
        remove_underscore=options.remove_underscore,
        character_tag_expand=options.character_tag_expand,
        character_tags_first=options.character_tags_first,
        order=options.order,
        limit=options.max_tags,
    )


def _place(first: bool, last: bool) -> str:
    """Where the best of a category goes; sd-scripts lets the last win where both are given."""
    return choose.LAST if last else choose.FIRST if first else choose.OFF


def frequencies(counts: Counter[str]) -> str:
    """The table of how often each tag was given."""
    ranked = counts.most_common()
    width = len(str(ranked[0][1])) if ranked else 1
    lines = [f"  {count:>{width}}  {tag}" for tag, count in ranked]
    return "\n".join([f"Tags: {plural(len(ranked), 'tag')}, and in how many captions each is", *lines])


def _debug(picture: Picture, tags: Sequence[Chosen]) -> str:
    by_category: dict[str, list[str]] = {}
    for tag in tags:
        by_category.setdefault(tag.category, []).append(f"{tag.text} {tag.score:.2f}")
    return "\n".join([f"{picture.path}:", *(f"  {category}: {', '.join(words)}" for category, words in by_category.items())])
