"""Settings as text: the printed list, the file of a run, the reference, and the presets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.adapters import METHODS
from engine.config import flags
from engine.config.keys import run_keys
from engine.config.load import Loaded, load
from engine.config.reference import reference
from engine.config.report import dump, literal, report
from engine.config.rows import Rows
from engine.config.sources import ConfigFile
from engine.diffusion.samplers import SAMPLERS
from engine.models import FAMILIES
from engine.optimization.optimizers import OPTIMIZERS
from engine.optimization.schedules import SCHEDULES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROWS = Rows(METHODS, OPTIMIZERS, SCHEDULES, SAMPLERS, FAMILIES)
FILES = sorted(Path(__file__).parent.parent.glob("configs/*.toml"))


def run(*words: str) -> Loaded:
    return load(flags.split(words).sources, ROWS)


def test_the_reference_is_up_to_date(root: Path) -> None:
    """Write it anew with `python -m engine config --reference > configs/reference.toml`."""
    assert (root / "configs/reference.toml").read_text(encoding="utf-8") == reference(ROWS)


def test_the_reference_loads_as_the_defaults(root: Path) -> None:
    loaded = run("--config", str(root / "configs/reference.toml"))
    assert loaded.config == run().config
    assert loaded.notices == ()


def test_the_reference_names_every_key_and_where_sd_scripts_differs(root: Path) -> None:
    text = reference(ROWS)
    assert [key for key in run_keys() if f"\n{key} =" not in text and f"\n# {key} =" not in text] == []
    assert '\n# Optimizer. One of: AdamW, AdamW8bit, Lion, Adafactor, Prodigy.\noptimizer_type = "AdamW"\n' in text
    caption = "Ending of caption files; of several, `.caption,.txt`, the first that a picture has."
    assert f'\n# {caption} [sd-scripts: ".caption"]\ncaption_extension = ".txt"\n' in text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_shipped_file_loads_without_a_word(path: Path) -> None:
    assert load([ConfigFile(str(path))], ROWS).notices == ()
    path.read_bytes().decode("utf-8")


def test_the_presets_keep_what_they_promise(root: Path) -> None:
    names = [path.stem for path in FILES if path.stem.startswith(("sd15_lora", "sdxl_lora"))]
    assert names == [
        *("sd15_lora", "sd15_lora_12gb", "sd15_lora_24gb", "sd15_lora_6gb", "sd15_lora_8gb"),
        *("sdxl_lora_12gb", "sdxl_lora_24gb", "sdxl_lora_8gb"),
    ]
    for name in names:
        config = run("--config", str(root / f"configs/{name}.toml")).config
        assert config.network.network_alpha * 2 == config.network.network_dim
        assert config.network.network_train_unet_only == name.startswith("sdxl")
        assert config.data.resolution == ((1024, 1024) if name.startswith("sdxl") else (768, 768) if "24gb" in name else (512, 512))
        text = (root / f"configs/{name}.toml").read_text(encoding="utf-8")
        assert f"configs/{name}.toml" in text and "顯存" in text
    small = run("--config", str(root / "configs/sdxl_lora_8gb.toml")).config
    assert 4 <= small.network.network_dim <= 8 and small.data.train_batch_size == 1
    assert small.training.gradient_checkpointing and small.training.mixed_precision == "bf16"
    assert small.optimizer.optimizer_type == "AdamW"


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--network_args conv_dim=4 conv_alpha=1 --optimizer_args betas=0.9,0.95 --lr_warmup_steps 5% --lr_scheduler=linear",
        '--log_with= --logging_dir= --save_precision= --output_name=測試"a"\\b --resolution 512,768 --vae C:\\v --log_prefix=\x7f',
        "--network_train_unet_only --learning_rate 1e-5 --noise_offset 0.05 --cache_text_encoder_outputs",
        "--optimizer_type Prodigy --optimizer_args growth_rate=inf beta3=none decouple=False",
    ],
)
def test_the_file_of_a_run_loads_back_to_the_same_settings(tmp_path: Path, words: str) -> None:
    config = run(*words.split()).config
    path = tmp_path / "settings.toml"
    path.write_text(dump(config), encoding="utf-8")
    assert run("--config", str(path)).config == config


def test_datasets_come_back_too(tmp_path: Path) -> None:
    data = tmp_path / "d.toml"
    data.write_text(
        "[general]\nkeep_tokens = 2\nresolution = ''\n[[datasets]]\nbatch_size = 2\nmax_bucket_reso = ''\n"
        "[[datasets.subsets]]\nimage_dir = 'C:\\a'\ncaption_prefix = ''\n[[datasets.subsets]]\nimage_dir = '圖 b'\nis_reg = true\n"
        "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'c'\nclass_tokens = 'x'\n",
        encoding="utf-8",
    )
    words = [
        "--dataset_config",
        str(data),
        "--caption_prefix",
        "p",
        "--max_bucket_reso",
        "768",
        "--resolution",
        "512",
        "--train_batch_size=3",
    ]
    loaded = run(*words)
    first = loaded.config.data.datasets[0]
    assert (first.options.resolution, first.options.max_bucket_reso, first.subsets[0].options.caption_prefix) == (None, None, None)
    path = tmp_path / "settings.toml"
    path.write_text(dump(loaded.config), encoding="utf-8")
    assert run("--config", str(path)).config == loaded.config
    assert set(tomllib.loads(dump(loaded.config))) >= {"model", "data", "datasets"}
    assert f"# from {data}\n\n[[datasets]]\n" in report(loaded)


def test_the_list_of_settings_says_where_each_value_came_from() -> None:
    lines = report(run("--network_dim", "8", "--lowram")).splitlines()
    assert [line for line in lines if line.startswith("[")] == [
        "[model]", "[data]", "[network]", "[optimizer]", "[training]", "[objective]", "[save]", "[sample]", "[log]",
    ]  # fmt: skip
    assert f"  {'network_dim = 8':<56} --network_dim   (sd-scripts: 4)" in lines
    assert f"  {'max_train_steps = 1600':<56} default" in lines
    assert f'  {"caption_extension = " + literal(".txt"):<56} default   (sd-scripts: ".caption")' in lines
    assert f"  {'clip_skip = (not set)':<56} default" in lines
    assert lines[-1] == "note: command line  --lowram: has no effect here; the model is always read part by part, straight to the device"
