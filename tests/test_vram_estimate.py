"""The predictor of a card's memory, and what the presets claim by it."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from engine.adapters import METHODS
from engine.config import flags
from engine.config.load import load as read
from engine.config.rows import Rows
from engine.config.schema import Config
from engine.diffusion.samplers import SAMPLERS
from engine.models import FAMILIES
from engine.optimization.optimizers import OPTIMIZERS
from engine.optimization.schedules import SCHEDULES
from engine.vram import estimate, load
from engine.vram.exact import model_of

ROOT = Path(__file__).resolve().parent.parent
KEPT: dict[str, Any] = json.loads((ROOT / "tests/cuda/presets.json").read_text(encoding="utf-8"))
PRESETS = sorted(path.stem for path in ROOT.glob("configs/sd*_lora_*gb.toml"))
FAMILY = {"sd15": "sd1", "sdxl": "sdxl"}
LARGEST_BATCH = {"sd1": 4, "sdxl": 2}
GIB = 2**30


@functools.cache
def asked(name: str) -> estimate.Load:
    """What a preset asks, for pictures and sample pictures of its resolution."""
    config = settings(name)
    width, height = config.data.resolution or (0, 0)
    named = replace(config, model=replace(config.model, pretrained_model_name_or_path=None, family=FAMILY[name[:4]]))
    sizes = load.Pictures(config.data.train_batch_size, width * height, width * height)
    return load.asked(named, model_of(named), config.training.mixed_precision or "", sizes)


def card(name: str) -> int:
    found = re.search(r"(\d+)gb", name)
    assert found
    return int(found[1]) * GIB


def settings(name: str) -> Config:
    rows = Rows(METHODS, OPTIMIZERS, SCHEDULES, SAMPLERS, FAMILIES)
    return read(flags.split(["--config", str(ROOT / f"configs/{name}.toml")]).sources, rows).config


def test_the_table_has_every_family_format_and_method() -> None:
    table = estimate.coefficients()
    rows = {(row["family"], row["precision"], row["checkpointing"], row["method"]) for row in table["steps"]}
    families, forms = [row.name for row in FAMILIES], ("half", "full")
    assert rows == {(f, p, c, m) for f in families for p in forms for c in (False, True) for m in ("lora", "loha")}
    for rows in (table["sample"], table["captions"]):
        assert {(row["family"], row["precision"]) for row in rows} == {(f, p) for f in families for p in forms}
    assert set(table["vae"]) == set(forms)


@pytest.mark.parametrize("name", PRESETS)
def test_a_run_takes_more_where_it_asks_more(name: str) -> None:
    small = replace(asked(name), batch=1, checkpointing=True, precision="bf16")
    step = estimate.predict(small).peak("step")
    assert estimate.predict(replace(small, batch=2)).peak("step") > step
    assert estimate.predict(replace(small, checkpointing=False)).peak("step") > step
    assert estimate.predict(replace(small, precision="no")).peak("step") > step
    assert estimate.predict(replace(small, precision="fp16")).peak("step") == step
    assert estimate.predict(replace(small, text_stays=not small.text_stays)).peak("step") != step
    wide = replace(small.adapters, rank=2 * small.adapters.rank, parameters=2 * small.adapters.parameters)
    assert estimate.predict(replace(small, adapters=wide)).peak("step") > step


def test_phases_name_what_they_hold() -> None:
    found = estimate.predict(asked("sdxl_lora_8gb"))
    assert set(found.phases) == {"encode pictures", "encode captions", "step", "sample", "decode", "decode in tiles"}
    assert set(found.phases["step"]) == {"U-Net", "adapters", "optimizer", "gradients and activations"}
    assert found.peak("decode in tiles") < found.peak("decode")
    assert found.needed == int(found.peak(found.largest) * 1.05 + 1.3 * GIB)
    assert found.fits(found.needed) and not found.fits(found.needed - 1)
    assert "sample" not in estimate.predict(replace(asked("sdxl_lora_8gb"), preview_pixels=0)).phases


def test_a_family_that_the_table_does_not_know_is_an_error() -> None:
    with pytest.raises(KeyError, match="coefficients.json has no row for .*sd9"):
        estimate.predict(replace(asked("sd15_lora_6gb"), family="sd9"))


@pytest.mark.parametrize("name", PRESETS)
def test_what_was_counted_is_the_preset(name: str) -> None:
    """Whoever changes a preset counts it again: `python -m tests.cuda.table --fit --presets NAME`."""
    assert KEPT[name]["load"] == asdict(asked(name))
    assert settings(name).optimizer.optimizer_type == "AdamW"


@pytest.mark.parametrize("name", PRESETS)
def test_the_table_is_right_for_the_presets(name: str) -> None:
    found = estimate.predict(asked(name))
    for phase, peak in KEPT[name]["peaks"].items():
        assert found.peak(phase) == pytest.approx(peak, rel=0.10), phase


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fits_its_card_and_leaves_no_batch_unused(name: str) -> None:
    """No checkpointing at the largest batch of at least 2 that fits; where 2 does not fit, checkpointing at the largest that does."""
    known, most = asked(name), LARGEST_BATCH[asked(name).family]
    plain = [batch for batch in range(2, most + 1) if estimate.predict(replace(known, batch=batch, checkpointing=False)).fits(card(name))]
    spared = [batch for batch in range(1, most + 1) if estimate.predict(replace(known, batch=batch, checkpointing=True)).fits(card(name))]
    assert plain or spared, f"nothing fits {name}"
    assert (known.checkpointing, known.batch) == ((False, max(plain)) if plain else (True, max(spared)))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_tells_the_memory_that_is_predicted(name: str) -> None:
    text = (ROOT / f"configs/{name}.toml").read_text(encoding="utf-8")
    needed = estimate.predict(asked(name)).needed / GIB
    assert f"# Needs {needed:.1f} GB, 0.7 of them for the desktop" in text
    assert f"# 約需 {needed:.1f} GB 顯存（含桌面 0.7 GB" in text


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_what_takes_less_and_is_not_set(name: str) -> None:
    """In the order of `less.for_steps`."""
    text = (ROOT / f"configs/{name}.toml").read_text(encoding="utf-8")
    ways = {"set gradient_checkpointing = true": not asked(name).checkpointing, "lower train_batch_size": asked(name).batch > 1}
    told = [way for way, open_ in ways.items() if open_]
    assert ", ".join([*told, "lower resolution."]) in re.findall("^# Where it runs out, (.*)$", text, re.MULTILINE)[0]
    assert all((way in text) is open_ for way, open_ in ways.items())
