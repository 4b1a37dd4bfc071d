"""The contact sheet: every picture as it will be trained on. One HTML file shows each cut to its bucket, with its caption.

Everything is inside the file, so it works offline and can be sent to somebody. The crops are the index's thumbnails, moved and cut by
the browser, so that writing it decodes no picture; cards outside the window are not laid out, which keeps thousands of them quick.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path

from engine import files
from engine.data.index import Index
from engine.data.items import Scan
from engine.errors import plural
from engine.tools.dataset_report import PictureReport, Report, bucket_name, captions_of, folder_name, length, tokens

_STYLE = """
:root { color-scheme: light dark; --back:#f5f5f2; --card:#fff; --text:#1d1d1b; --soft:#6b6b66; --line:#dfdfd9; --stage:#eeeeea;
  --mark:#9a5a00; --bad:#b3261e; --bar:#4a6fa5; }
@media (prefers-color-scheme: dark) { :root { --back:#17181a; --card:#222427; --text:#e8e8e4; --soft:#9b9b95; --line:#35373b;
  --stage:#1b1c1f; --mark:#e2a24a; --bad:#ff8a80; --bar:#7ba0d6; } }
* { box-sizing:border-box } body { margin:0 auto; max-width:1500px; padding:28px 24px 80px; background:var(--back); color:var(--text);
  font:15px/1.5 system-ui,"Segoe UI",sans-serif }
h1 { font-size:1.5rem; margin:0 0 .2rem } h2 { font-size:1.1rem; margin:2.2rem 0 .6rem } p { margin:.2rem 0; color:var(--soft) }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums } .wide { overflow-x:auto }
th,td { padding:.35rem .8rem .35rem 0; text-align:left; border-bottom:1px solid var(--line); vertical-align:top }
th { font-weight:600; color:var(--soft); font-size:.85rem } .n { text-align:right }
.bar { height:.55rem; border-radius:3px; background:var(--bar); min-width:2px; margin-top:.45rem }
ul { padding-left:1.2rem; margin:.3rem 0 } .bad { color:var(--bad) } .mark { color:var(--mark) }
.tools { position:sticky; top:0; z-index:2; display:flex; flex-wrap:wrap; gap:.5rem 1rem; align-items:center; margin-top:1.6rem;
  padding:.7rem 0; background:var(--back) } .tools label { display:flex; gap:.4rem; align-items:center } #shown { color:var(--soft) }
input[type=search] { flex:1; max-width:26rem; padding:.45rem .7rem; border:1px solid var(--line); border-radius:6px; font:inherit;
  background:var(--card); color:inherit }
.grid { display:grid; grid-template-columns:repeat(auto-fill,minmax(190px,1fr)); gap:14px }
.card { background:var(--card); border:1px solid var(--line); border-radius:8px; overflow:hidden; content-visibility:auto;
  contain-intrinsic-size:auto 190px auto 330px } .card[hidden] { display:none }
.crop { position:relative; overflow:hidden } .crop img { position:absolute; display:block }
.stage { aspect-ratio:1; background:var(--stage); display:flex; align-items:center; justify-content:center }
.about { padding:.55rem .7rem .7rem; font-size:.86rem; overflow-wrap:anywhere } .about b { font-weight:600 }
.facts { display:flex; flex-wrap:wrap; gap:0 .7rem; margin-top:.25rem; color:var(--soft); font-size:.78rem }
.facts span { white-space:nowrap } .empty { color:var(--soft); font-style:italic }
"""

_SCRIPT = """
const find=document.getElementById('find'), odd=document.getElementById('odd'), shown=document.getElementById('shown');
const cards=[...document.querySelectorAll('.card')].map(c=>[c,c.textContent.toLowerCase()]);
function filter(){ const words=find.value.toLowerCase().split(/\\s+/).filter(Boolean); let n=0;
  for(const [c,t] of cards){ const on=words.every(w=>t.includes(w))&&(!odd.checked||c.dataset.odd); c.hidden=!on; n+=on }
  shown.textContent=n+' of '+cards.length }
find.oninput=filter; odd.onchange=filter; filter();
"""


def write(report: Report, index: Index, target: Path) -> None:
    """Write the contact sheet. Raises UserError where the disk refuses."""
    pictures = list(dict.fromkeys(picture.item.image for picture in report.pictures))
    files.write_text(target, page(report, index.thumbnails(pictures)))


def page(report: Report, thumbnails: Mapping[Path, bytes]) -> str:
    """The whole page. `thumbnails` are JPEG files by picture."""
    found = report.scan
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>What will be trained on</title><style>{_STYLE}</style></head><body>",
        f"<h1>What will be trained on</h1><p>{escape(length(report))}</p><p>{escape(tokens(report))}</p>",
        _list("Problems: a run would stop here", [f"{p.file}: {p.message}; {p.hint}" for p in found.problems], "bad"),
        _list("Remarks", list(report.remarks), "mark"),
        _folder_table(report),
        _bucket_table(report),
        '<div class="tools"><input id="find" type="search" placeholder="find in names and captions" aria-label="find">',
        '<label><input id="odd" type="checkbox"> only pictures with remarks</label><span id="shown"></span></div>',
    ]
    for number, folder in enumerate(report.folders):
        cards = [_card(picture, found, thumbnails) for picture in report.pictures if picture.item.subset == number]
        parts.append(f'<h2>{escape(folder_name(folder, len(found.datasets) > 1))}</h2><div class="grid">{"".join(cards)}</div>')
    return "\n".join([*parts, f"<script>{_SCRIPT}</script></body></html>\n"])


def _card(picture: PictureReport, found: Scan, thumbnails: Mapping[Path, bytes]) -> str:
    """One picture: the thumbnail moved so that exactly the crop shows, and what is known of it."""
    item = picture.item
    (width, height), (left, top) = item.placement.bucket, item.placement.crop
    place = (
        f"width:{100 * item.placement.resized[0] / width:.3f}%;height:{100 * item.placement.resized[1] / height:.3f}%;"
        f"left:{-100 * left / width:.3f}%;top:{-100 * top / height:.3f}%"
    )
    data = base64.b64encode(thumbnails.get(item.image, b"")).decode("ascii")
    shape = "height:100%" if height > width else "width:100%"
    caption = escape(picture.caption) if picture.caption else '<span class="empty">empty caption</span>'
    facts = [f"{width} x {height}", plural(picture.tokens, "token"), plural(item.repeats, "repeat")]
    facts += ["varies"] if picture.varies else []
    facts += ["caption from the folder's name"] if item.caption_source == "folder" else []
    told = " ".join(f"<span>{escape(fact)}</span>" for fact in facts)
    remarks = "".join(f'<div class="mark">{escape(remark.text)}</div>' for remark in picture.remarks)
    return (
        f'<div class="card"{" data-odd=1" if picture.remarks else ""}><div class="stage">'
        f'<div class="crop" style="{shape};aspect-ratio:{width}/{height}">'
        f'<img loading="lazy" decoding="async" alt="" style="{place}" src="data:image/jpeg;base64,{data}"></div></div>'
        f'<div class="about"><b>{escape(item.image.name)}</b><div>{caption}</div>'
        f'<div class="facts">{told}</div>{remarks}</div></div>'
    )


def _folder_table(report: Report) -> str:
    """The folders, their samples an epoch as bars."""
    most = max((folder.samples for folder in report.folders), default=0)
    several = len(report.scan.datasets) > 1
    rows = "".join(
        f"<tr><td>{escape(folder_name(folder, several))}</td>{_numbers(folder.pictures, folder.subset.repeats, folder.samples)}"
        f"{_bar(folder.samples, most)}<td>{escape(captions_of(folder))}</td><td>{escape(', '.join(folder.trigger) or '-')}</td></tr>"
        for folder in report.folders
    )
    heads = _heads("folder", "pictures#", "x repeats#", "= samples an epoch#", "", "captions from", "trigger words")
    return f'<h2>Folders</h2><div class="wide"><table>{heads}{rows}</table></div>'


def _bucket_table(report: Report) -> str:
    """The buckets, their samples an epoch as bars."""
    most = max((bucket.samples for bucket in report.buckets), default=0)
    several = len(report.scan.datasets) > 1
    rows = "".join(
        f"<tr><td>{escape(bucket_name(bucket, several))}</td>{_numbers(bucket.pictures, bucket.samples, bucket.batches)}"
        f"{_bar(bucket.samples, most)}{_numbers(f'{bucket.cut:.0%}')}</tr>"
        for bucket in report.buckets
    )
    heads = _heads("bucket", "pictures#", "samples an epoch#", "batches#", "", "cut off on average#")
    return f'<h2>Buckets</h2><div class="wide"><table>{heads}{rows}</table></div>'


def _numbers(*values: object) -> str:
    """Cells that hold numbers."""
    return "".join(f'<td class="n">{value}</td>' for value in values)


def _bar(value: int, most: int) -> str:
    """A cell with a bar as long as `value` is of `most`."""
    return f'<td style="width:22%"><div class="bar" style="width:{100 * value / max(most, 1):.0f}%"></div></td>'


def _heads(*titles: str) -> str:
    """A table's head; a title that ends in `#` stands over numbers."""
    cells = (f'<th class="n">{escape(title[:-1])}</th>' if title.endswith("#") else f"<th>{escape(title)}</th>" for title in titles)
    return f"<tr>{''.join(cells)}</tr>"


def _list(title: str, lines: list[str], style: str) -> str:
    """A titled list, or nothing."""
    if not lines:
        return ""
    return f'<h2 class="{style}">{escape(title)}</h2><ul>{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'
