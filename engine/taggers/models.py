"""The table of taggers. A row says how a picture is made ready, which output counts, and what the files are.

Sizes and SHA-256 are advisory: they are what others have recorded, and the hub may have a newer file that works as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.errors import UserError, did_you_mean, names, row_named

RATING, QUALITY, GENERAL, CHARACTER = "rating", "quality", "general", "character"
ONE_OF = (RATING, QUALITY)  # categories of which the best tag counts, whatever its score
CATEGORIES = (GENERAL, CHARACTER, "copyright", "artist", "meta", "model", "year", QUALITY, RATING)
DEFAULT = "wd-swinv2-v3"

Fit = Literal["pad", "stretch", "letterbox", "edge"]
Layout = Literal["NHWC", "NCHW"]
Colours = tuple[float, float, float]


@dataclass(frozen=True)
class Remote:
    """A file of a tagger: its path on the model's page, and what is recorded of it (0 and "" where nothing is)."""

    path: str
    size: int = 0
    sha256: str = ""

    @property
    def name(self) -> str:
        """Its name in the tagger's folder here."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Input:
    """How a picture is made ready: fitted to a square of `size` pixels, then (colour / scale - mean) / std in the model's order.

    `fit`: `pad` first makes a square around the picture, filled with `ground`; `letterbox` first resizes, and fills around that; `edge`
    is a letterbox filled with the picture's own outermost pixels; `stretch` keeps no shape. `filter` is Pillow's.
    """

    size: int
    layout: Layout = "NCHW"
    order: Literal["RGB", "BGR"] = "RGB"
    scale: float = 255.0
    mean: Colours = (0.5, 0.5, 0.5)
    std: Colours = (0.5, 0.5, 0.5)
    fit: Fit = "pad"
    ground: tuple[int, int, int] = (255, 255, 255)
    filter: Literal["BICUBIC", "BILINEAR", "LANCZOS"] = "BICUBIC"


@dataclass(frozen=True)
class Tagger:
    """One model.

    `files` begins with the ONNX file and ends with the labels; in between is its external data. With `own_labels` the labels are in the
    ONNX file's metadata. `output` is the number or the name of the output that counts. `thresholds` are by category; general's is for all
    others. `gated`: the page gives its files to a signed-in user only, and they may not be handed on.
    """

    name: str
    repo: str
    files: tuple[Remote, ...]
    input: Input
    output: int | str = 0
    sigmoid: bool = False
    thresholds: Mapping[str, float] = field(default_factory=lambda: {GENERAL: 0.35, CHARACTER: 0.85})
    revision: str = "main"
    aliases: tuple[str, ...] = ()
    own_labels: bool = False
    gated: bool = False
    note: str = ""

    @property
    def model(self) -> str:
        """The name of the ONNX file."""
        return self.files[0].name

    @property
    def labels(self) -> str:
        """The name of the file of labels; empty where the model carries them."""
        return "" if self.own_labels else self.files[-1].name

    @property
    def size(self) -> int:
        """Bytes of all files together, as far as they are recorded."""
        return sum(file.size for file in self.files)


_WD = Input(448, "NHWC", "BGR", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_V2_LABELS = Remote("selected_tags.csv", 253906, "8c8750600db36233a1b274ac88bd46289e588b338218c2e4c62bbc9f2b516368")
_V3_LABELS = Remote("selected_tags.csv", 308468, "298633d94d0031d2081c0893f29c82eab7f0df00b08483ba8f29d1e979441217")
_DEEPDANBOORU = Input(512, "NHWC", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), fit="edge")


def _wd_v2(kind: str, revision: str = "main", size: int = 0, sha256: str = "", aliases: tuple[str, ...] = ()) -> Tagger:
    name, repo = f"wd-v1-4-{kind}-v2", f"SmilingWolf/wd-v1-4-{kind}-tagger-v2"
    files = (Remote("model.onnx", size, sha256), _V2_LABELS)
    return Tagger(name, repo, files, _WD, revision=revision, aliases=(f"wd14-{kind}-v2", *aliases))


def _wd_v3(kind: str, revision: str, size: int, sha256: str, note: str = "") -> Tagger:
    name, repo = f"wd-{kind}-v3", f"SmilingWolf/wd-{kind}-tagger-v3"
    return Tagger(name, repo, (Remote("model.onnx", size, sha256), _V3_LABELS), _WD, revision=revision, note=note)


TAGGERS: tuple[Tagger, ...] = (
    _wd_v3(
        "swinv2", "627aef95638667ddcaa3ac8ae625e88ea5b02f51", 467460978,
        "e6774bff34d43bd49f75a47db4ef217dce701c9847b546523eb85ff6dbba1db1",
    ),
    _wd_v3(
        "vit", "7f6b584d0bd3f55c4531f14ba3d4761b2bccdc0f", 378536310, "35f23693620b668f4d53fd3c62bf65e40af739bc52c7eb0fbc49258b58d065b6"
    ),
    _wd_v3(
        "convnext", "d39e46de298d27340111b64965e20b8185c407e6", 394990732,
        "1b8a7abf13d9b8368267df47501d523789c4aeae66b2296ad98483239dfa32eb",
    ),
    _wd_v3(
        "vit-large", "ae469aa2e4706a3af08d3673cf73a11d1add314c", 1260645673,
        "e4c8001b000a6c98f2db10794f7c406daa79873d071d6ca924330fa053fa1845",
    ),
    _wd_v3(
        "eva02-large", "b25b82a03f7282e41aa2f257a52c7583b710bd1c", 1260435999,
        "9e768793060c7939b277ccb382783e8670e8a042d29d77aa736be0c8cc898bfc", "sure of itself: a threshold of 0.5 suits it",
    ),
    _wd_v2("swinv2"),
    _wd_v2(
        "moat", "8452cddf280b952281b6e102411c50e981cb2908", 326197340, "b8cef913be4c9e8d93f9f903e74271416502ce0b4b04df0ff1e2f00df488aa03",
        ("moat",),
    ),
    _wd_v2("vit"),
    _wd_v2("convnext"),
    _wd_v2("convnextv2"),
    Tagger(
        "wd-eva02-2026-canary", "Misaka41Z/wd-eva02-tagger-2026-canary-onnx-v2",
        (
            Remote("model.onnx", 1309248037, "fd78fbdf9390cbd163e4dd28f754a5bbf83bc7a111c4d20270f22415a0f66c95"),
            Remote("selected_tags.csv", 467782, "3f78c28ee0d50779edb320733f76aeaf4184694cbd09c631deef6889865f9178"),
        ),
        Input(448), revision="0a86acfa093b33b8818667820e52fc5eccf27ff8", aliases=("canary",),
    ),
    Tagger(
        "pixai-0.9", "deepghs/pixai-tagger-v0.9-onnx",
        (
            Remote("model.onnx", 1271365854, "a8d479098b5e23f253543c93df42391736abbb77c21c2efd3a513b9cda7b3657"),
            Remote("selected_tags.csv", 596868, "76b5dd39354a7a4d9baefb94d63b44a09a4934ee15303b7eb86c38f2128eb68a"),
        ),
        Input(448, fit="stretch", filter="BILINEAR"), "prediction", thresholds={GENERAL: 0.30, CHARACTER: 0.75},
        revision="d8cf666911a2c3d10d586d7823259192313c7eb7",
    ),
    Tagger(
        "pixai-1.0", "noaione/pixai-tagger-v1.0-onnx",
        (
            Remote("model.onnx", 2633225, "563f4576c2668560c20f403b957f0ec4a7bd6a2275da2c2aa7f82f898ad34e5c"),
            Remote("model.onnx.data", 1955123200, "4de1c25a38d1f2a2172fbcb0d2485b5f02a058b6e67bedd7bbbcfdf4de9329dc"),
            Remote("tags.json", 816539, "0d34f2078016798808dc066dc206b18fb6ce7622f64241002ecd24172a4da068"),
        ),
        Input(1008, fit="letterbox", ground=(0, 0, 0), filter="BILINEAR"), sigmoid=True,
        thresholds={GENERAL: 0.17, CHARACTER: 0.27, "artist": 0.15, "copyright": 0.24, "meta": 0.17},
        revision="68e8f4f02dd56a5f40c1b7474489fa0f599dec34",
    ),
    Tagger(
        "cl-tagger-1.02", "cella110n/cl_tagger",
        (
            Remote("cl_tagger_1_02/model.onnx", 1425860192, "1459e946ffc083159015e0eb26239016349ddd36c3daecfeb70bfa4ccf38b944"),
            Remote("cl_tagger_1_02/tag_mapping.json", 4088861, "9611988482f1bf9a174622c0067d0baa88fda69c0a855cc500411426e77832ec"),
        ),
        Input(448, order="BGR", scale=127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0)), sigmoid=True, thresholds={GENERAL: 0.35},
        revision="0b6e9b4e145b1423bfd1715119074a24a301b471", aliases=("cl-tagger", "cella110n/cl_tagger/cl_tagger_1_02"),
    ),
    Tagger(
        "cl-tagger-v2", "cella110n/cl_tagger_v2",
        (
            Remote("v2_01a/model.onnx", 791773, "12581711ccf803f914129b9e87932a4cf93c80c3382b7c63305e67afdcc2a02f"),
            Remote("v2_01a/model.onnx.data", 2211645300, "d9f162b7c8127790879f17fb87bc643a1c803bc17bcce44ab021fca65b2dafff"),
            Remote("v2_01a/model_vocabulary.json"),
        ),
        Input(384, fit="stretch"), sigmoid=True, thresholds={GENERAL: 0.55}, revision="b57909b8e9c63f71e208a26473e7aabdf45ed6b6",
        aliases=("cella110n/cl_tagger_v2/v2_01a",), gated=True,
    ),
    Tagger(
        "camie-v2", "Camais03/camie-tagger-v2", (Remote("camie-tagger-v2.onnx"), Remote("camie-tagger-v2-metadata.json")),
        Input(
            512, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="letterbox", ground=(124, 116, 104), filter="LANCZOS"
        ),
        1, sigmoid=True, thresholds={GENERAL: 0.5}, aliases=("camie",),
    ),
    Tagger(
        "joytag", "fancyfeast/joytag", (Remote("model.onnx"), Remote("top_tags.txt")),
        Input(448, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)),
        sigmoid=True, thresholds={GENERAL: 0.4},
    ),
    Tagger(
        "deepdanbooru", "deepghs/imgutils-models", (Remote("deepdanbooru/deepdanbooru.onnx"), Remote("deepdanbooru/deepdanbooru_tags.csv")),
        _DEEPDANBOORU, thresholds={GENERAL: 0.5}, aliases=("deepghs/imgutils-models/deepdanbooru",),
        note="an old model: the wd taggers see more",
    ),
    Tagger(
        "deepdanbooru-skytnt", "skytnt/deepdanbooru_onnx", (Remote("deepdanbooru.onnx", 615_000_000),), _DEEPDANBOORU,
        thresholds={GENERAL: 0.5}, own_labels=True, note="an old model: the wd taggers see more",
    ),
)  # fmt: skip


def find(word: str) -> Tagger:
    """The row of a name, an alias, or a page's address on the hub. Raises UserError with the nearest name."""
    text = word.strip().strip("/")
    found = row_named(TAGGERS, text)
    if found is None:
        found = next((row for row in TAGGERS if text.lower() in _of_page(row)), None)
    if found is not None:
        return found
    if text.lower().endswith((".h5", ".pt", "project.json", ".pb")) or "tensorflow" in text.lower():
        raise UserError(f"`{word}` is a tagger in a format that is not run here", INSTEAD, where="repo_id")
    known = [name for row in TAGGERS for name in (*names(row), row.repo)]
    raise UserError(f"there is no tagger `{word}`", did_you_mean(text, known) or _all_names(TAGGERS), where="repo_id")


INSTEAD = (
    "ONNX files are: `python -m engine download tagger deepdanbooru` gets DeepDanbooru as one (deepdanbooru.onnx of "
    f"deepghs/imgutils-models); `{DEFAULT}` sees more than it"
)


def _of_page(row: Tagger) -> tuple[str, ...]:
    """Other ways to write a row's page: with its owner, without, and as sd-scripts names the folder."""
    page = row.repo.lower()
    return page, page.partition("/")[2], page.replace("/", "_")


def _all_names(rows: Sequence[Tagger]) -> str:
    return f"choose one of {', '.join(row.name for row in rows)}"
