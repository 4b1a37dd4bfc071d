"""The page that lays training steps against prompts. A small record beside it is what the page is written anew from.

A page needs nothing but the pictures it points to: no network, no other file. `samples.json` keeps the rows of a run's `samples.html`.
"""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from urllib.parse import quote

from engine import files
from engine.errors import UserError, plural
from engine.generation.prompt import Shot

PAGE, RECORD = "samples.html", "samples.json"
_VERSION = 1  # of the record


@dataclass(frozen=True)
class Kind:
    """What the rows of a page are, in words."""

    row: str
    chinese: str


STEPS = Kind("step", "训练样图：每行一步，每列一个提示词")
FILES = Kind("LoRA", "对比图：每行一个 LoRA，每列一个提示词")


@dataclass(frozen=True)
class Row:
    """The pictures of one training step or one file, or of the base model (`base`: strength 0)."""

    name: str  # what the row is called where each shows another file; empty for a run's own pictures
    step: int
    epoch: int | None
    loss: float | None  # running mean at that step
    base: bool
    cells: Mapping[int, str] = field(default_factory=dict)  # column -> picture file, relative to the page, with forward slashes


@dataclass(frozen=True)
class Record:
    """All that the page shows. A column is a prompt with its settings; two prompts that differ in anything are two columns."""

    title: str
    columns: tuple[Shot, ...] = ()
    rows: tuple[Row, ...] = ()


def add(record: Record, row: Row, pictures: Mapping[Shot, str]) -> Record:
    """The record with `row` showing `pictures`: the base row first, then by step. A picture made again takes the old one's place."""
    columns = record.columns + tuple(shot for shot in pictures if shot not in record.columns)
    cells = {columns.index(shot): file for shot, file in pictures.items()}
    for old in record.rows:
        if _same(old, row):
            cells = {**old.cells, **cells}
    others = [old for old in record.rows if not _same(old, row)]
    rows = sorted([*others, dataclasses.replace(row, cells=cells)], key=lambda row: (not row.base, 0 if row.base else row.step, row.name))
    return Record(record.title, columns, tuple(rows))


def _same(one: Row, other: Row) -> bool:
    """Whether two rows show the same state of the same model. A base model has no steps."""
    return (one.base, one.name) == (other.base, other.name) and (one.base or one.step == other.step)


def write(folder: Path, record: Record) -> Path:
    """Write record and page into `folder`, each whole or not at all; returns the page's path. Raises UserError where it cannot."""
    table = {"version": _VERSION, **dataclasses.asdict(record)}
    files.write_json(folder / RECORD, table)
    files.write_text(folder / PAGE, render(record))
    return folder / PAGE


def load(folder: Path, title: str) -> Record:
    """The record in `folder`, or an empty one of that title where there is none. Raises UserError for one that is not ours."""
    path = folder / RECORD
    if not path.exists():
        return Record(title)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["version"] != _VERSION:
            raise ValueError(f"version {table['version']}")
        columns = tuple(Shot(**column) for column in table["columns"])
        rows = tuple(Row(**{**row, "cells": {int(column): file for column, file in row["cells"].items()}}) for row in table["rows"])
        return Record(table["title"], columns, rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "move it away; the page then starts anew, and the pictures stay"
        raise UserError(f"this record of sample pictures cannot be read ({error})", hint, where=str(path)) from error


def render(record: Record, kind: Kind = STEPS) -> str:
    """The page as HTML. Everything from outside is escaped; picture files are named relatively, as URLs."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    bases = sum(row.base for row in record.rows)
    shown = [plural(len(record.rows) - bases, kind.row)] if len(record.rows) > bases or not bases else []
    shown += ["the base model"] if bases else []
    return template.substitute(
        title=html.escape(record.title),
        summary=f"{plural(len(record.columns), 'prompt')} × {' + '.join(shown)}",
        kind=kind.row,
        chinese=kind.chinese,
        columns="".join(_column(number, shot) for number, shot in enumerate(record.columns)),
        rows="\n".join(_row(number, row, record.columns) for number, row in enumerate(record.rows)),
    )


def _column(number: int, shot: Shot) -> str:
    """A column's head, and the full text that the enlarged view shows."""
    text, negative = html.escape(shot.text or "(empty prompt)"), html.escape(shot.negative)
    facts = [f"seed {shot.seed}", f"{shot.width}×{shot.height}", f"{shot.steps} steps", f"CFG {shot.scale:g}", shot.sampler]
    facts += ["Karras"] if shot.karras else []
    chips = "".join(f"<span>{html.escape(fact)}</span>" for fact in facts)
    if shot.strength != 1.0:
        facts.append(f"strength {shot.strength:g}")
        chips += f'<span class="loud">{facts[-1]}</span>'
    below = f'<div class="negative" title="{negative}">− {negative}</div>' if negative else ""
    full = f"{text}<small>{'− ' + negative + ' · ' if negative else ''}{html.escape(' · '.join(facts))}</small>"
    return (
        f'<th scope="col"><div class="prompt" title="{text}">{text}</div>{below}<div class="chips">{chips}</div>'
        f'<template data-column="{number}">{full}</template></th>'
    )


def _row(number: int, row: Row, columns: tuple[Shot, ...]) -> str:
    """One line of the table: what it is, then a picture for each prompt. A file that does not tell its step has the step 0."""
    name = html.escape(row.name)
    if row.base:
        label, head, about = "base model, strength 0", "base model", ["strength 0", "原始模型"]
    elif name:
        head = name.replace("/", "/<wbr>")
        label, about = (f"step {row.step}", [f"step {row.step:,}"]) if row.step else ("", [])
    else:
        label, head, about = f"step {row.step}", f"<small>step</small>{row.step:,}", []
    if name:
        label = ", ".join(filter(None, (name, label)))
        about = [name, *about] if row.base else about
    about += [f"epoch {row.epoch}"] if row.epoch is not None and not row.base else []
    about += [f"loss {row.loss:.4f}"] if row.loss is not None and not row.base else []
    first = f'<th scope="row"><div class="step{" name" if name else ""}">{head}</div><div class="about">{"<br>".join(about)}</div></th>'
    cells = "".join(_cell(number, column, row.cells.get(column), shot, label) for column, shot in enumerate(columns))
    return f'<tr data-row="{number}"{" class=base" if row.base else ""}>{first}{cells}<td class="rest"></td></tr>'


def _cell(row: int, column: int, file: str | None, shot: Shot, label: str) -> str:
    """One picture, or the note that this step has none."""
    if file is None:
        return '<td><div class="none">not made</div></td>'
    return (
        f'<td><a class="shot" href="{quote(file)}" data-row="{row}" data-column="{column}" data-label="{label}">'
        f'<img src="{quote(file)}" loading="lazy" decoding="async" width="{shot.width}" height="{shot.height}" '
        f'alt="{label}: {html.escape(shot.text)}"></a></td>'
    )
