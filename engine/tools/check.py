"""`check`: what a run would train on, told before it starts. It writes a contact sheet too. Imports no torch."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine import doctor, environment, models
from engine.config.schema import Config
from engine.data.index import Index
from engine.data.items import Scan
from engine.errors import UserError
from engine.models.recognise import recognise
from engine.models.tokens import check_length, tokenizer
from engine.tools import contact_sheet
from engine.tools.dataset_report import Report, RunShape, bucket_name, captions_of, examine, folder_name, length, tokens
from engine.tools.pictures import read_pictures
from engine.vram import load, told
from engine.vram.exact import model_of

if TYPE_CHECKING:
    from rich.console import Console


def run(config: Config, told: Sequence[str] = (), *, sheet: str | None = None) -> int:
    """Print the report and write the contact sheet; the exit status: 1 where a run would stop, else 0.

    `told` are notices from loading the settings. `sheet` is the page's path; without it, `check.html` in the output folder.
    """
    from rich.console import Console

    console = Console(emoji=False)
    row, notes = _family(config)
    found = _scan(config, row, console)
    plan = RunShape(
        seed=config.training.seed,
        steps=config.training.max_train_steps,
        epochs=config.training.max_train_epochs,
        accumulation=config.training.gradient_accumulation_steps,
        max_tokens=check_length(config.model.max_token_length),
    )
    report = examine(found, tokenizer().count, plan)
    for line in (*told, *notes):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    show(report, console)
    for number, line in enumerate(_memory(config, row, found)):
        console.print(line if number else f"\n{line}", markup=False, highlight=False, soft_wrap=True)
    target = Path(sheet) if sheet else Path(config.save.output_dir) / "check.html"
    with Index(Path(config.data.cache_dir)) as index:
        contact_sheet.write(report, index, target)
    console.print(f"\nContact sheet, to open in a browser: {target.resolve()}", markup=False, highlight=False, soft_wrap=True)
    return 1 if found.problems else 0


def _family(config: Config) -> tuple[models.FamilyRow, list[str]]:
    """Whose resolutions hold where the settings name none: the base model's family, or SD 1.x, with a line that says so."""
    if config.model.family:
        return models.row(config.model.family), []
    path = config.model.pretrained_model_name_or_path
    if not path:
        return models.FAMILIES[0], ["No base model is named: sizes are those of Stable Diffusion 1.x."]
    try:
        return models.row_of(recognise(Path(path))), []
    except UserError as error:
        return models.FAMILIES[0], [f"The base model cannot be used ({error.message}): sizes are those of Stable Diffusion 1.x."]


def _memory(config: Config, row: models.FamilyRow, found: Scan) -> list[str]:
    """How large a card the run needs; empty where that cannot be told, because the settings or the pictures make no run."""
    if not found.items:
        return []
    cards = doctor.nvidia_cards()
    half = "bf16" if not cards or cards[0].capability >= doctor.BF16_CAPABILITY else "fp16"
    width, height = found.datasets[0].buckets.resolution
    sizes = load.pictures(found, width * height if config.sample.sample_prompts else 0)
    named = dataclasses.replace(config, model=dataclasses.replace(config.model, family=row.name))
    try:
        memory = told.forecast(named, model_of(named), config.training.mixed_precision or half, sizes)
    except UserError:
        return []  # `train` tells what is wrong with the settings; this command looks at pictures
    card = (cards[0].name, cards[0].mebibytes << 20) if cards else None
    return told.needed(memory, card, config) if memory else []


def _scan(config: Config, row: models.FamilyRow, console: Console) -> Scan:
    """Read the pictures, with a progress bar while new ones are indexed."""
    from rich.progress import Progress

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("new pictures looked at", total=None, visible=False)
        return read_pictures(
            config.data,
            row.default_resolution,
            row.max_bucket,
            lambda done, total: progress.update(task, completed=done, total=total, visible=True),
        )


def text(report: Report, width: int = 110) -> str:
    """The report as plain text."""
    from rich.console import Console

    out = io.StringIO()
    show(report, Console(file=out, width=width, force_terminal=False, color_system=None, emoji=False))
    return out.getvalue()


def show(report: Report, console: Console) -> None:
    """Print the report: folders, buckets, length of the run, remarks, problems."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    several = len(report.scan.datasets) > 1
    folders = Table(title="Folders: pictures x repeats, and what they come to in an epoch", title_justify="left", box=box.SIMPLE_HEAD)
    for title in ("folder", "pictures#", "samples#", "share#", "captions", "words"):
        folders.add_column(title.rstrip("#"), justify="right" if title.endswith("#") else "left", overflow="fold")
    folders.columns[0].min_width = min(max((len(folder_name(folder, several)) for folder in report.folders), default=0), 30)
    for folder in report.folders:
        numbers = (f"{folder.pictures} x {folder.subset.repeats}", str(folder.samples), f"{folder.share:.0%}")
        cells = (folder_name(folder, several), *numbers, captions_of(folder), ", ".join(folder.trigger) or "-")
        folders.add_row(*(escape(cell) for cell in cells))
    console.print(folders)
    buckets = Table(title="Buckets", title_justify="left", box=box.SIMPLE_HEAD)
    for title in ("size", "pictures#", "samples#", "batches#", "cut off on average#"):
        buckets.add_column(title.rstrip("#"), justify="right" if title.endswith("#") else "left")
    for bucket in report.buckets:
        cut = f"{bucket.cut:.0%}"
        buckets.add_row(bucket_name(bucket, several), str(bucket.pictures), str(bucket.samples), str(bucket.batches), cut)
    console.print(buckets)
    console.print(f"{length(report)}\n{tokens(report)}", highlight=False)
    triggers = [environment.as_typed(line) for line in report.triggers]
    for title, lines, style in (
        ("Triggers", triggers, ""),
        ("Remarks", report.remarks, "yellow"),
        ("Problems (a run would stop here)", _problems(report), "bold red"),
    ):
        if lines:
            console.print(f"\n{title}", style=style)
            for line in lines:
                console.print(f"  - {escape(line)}", highlight=False, soft_wrap=True)


def _problems(report: Report) -> list[str]:
    """One line a file that cannot be used."""
    return [f"{problem.file}: {problem.message}; {problem.hint}" for problem in report.scan.problems]
