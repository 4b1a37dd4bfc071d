"""Dataset files: precedence, form, and what is said of mistakes in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.adapters import METHODS
from engine.config import flags
from engine.config.load import Loaded, load
from engine.config.problems import ConfigError
from engine.config.rows import Rows
from engine.diffusion.samplers import SAMPLERS
from engine.models import FAMILIES
from engine.optimization.optimizers import OPTIMIZERS
from engine.optimization.schedules import SCHEDULES

ROWS = Rows(METHODS, OPTIMIZERS, SCHEDULES, SAMPLERS, FAMILIES)

# The example of sd-scripts' own documentation in its form: two datasets, three folders.
EXAMPLE = """
[general]
shuffle_caption = true
caption_extension = '.txt'
keep_tokens = 1
batch_size = 3

[[datasets]]
resolution = 512
keep_tokens = 2
batch_size = 4

  [[datasets.subsets]]
  image_dir = 'C:\\hoge'
  class_tokens = 'hoge girl'

  [[datasets.subsets]]
  image_dir = 'C:\\fuga'
  class_tokens = 'fuga boy'
  keep_tokens = 3
  resize_interpolation = 'area'

[[datasets]]
resolution = [768, 1024]
enable_bucket = false

  [[datasets.subsets]]
  is_reg = true
  image_dir = 'C:\\reg'
  num_repeats = 2
  shuffle_caption = false
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test stands in an empty folder."""
    monkeypatch.chdir(tmp_path)


def run(*words: str, required: tuple[str, ...] = ()) -> Loaded:
    return load(flags.split(words).sources, ROWS, required)


def problems(*words: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        run(*words)
    return [str(problem) for problem in caught.value.problems]


def write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


def test_subset_wins_over_dataset_over_general_over_the_run_over_the_default() -> None:
    write("d.toml", EXAMPLE)
    words = "--dataset_config d.toml --keep_tokens 9 --caption_prefix p --bucket_reso_steps 32 --dataset_repeats 5 --train_batch_size 7"
    loaded = run(*words.split(), required=("train_data_dir",))
    first, second = loaded.config.data.datasets
    one, two, three = (subset.options for dataset in (first, second) for subset in dataset.subsets)
    assert (one.keep_tokens, two.keep_tokens, three.keep_tokens) == (2, 3, 1)
    assert (one.shuffle_caption, three.shuffle_caption) == (True, False)
    assert (one.caption_prefix, one.class_tokens, three.class_tokens) == ("p", "hoge girl", None)
    assert (one.num_repeats, three.num_repeats, one.is_reg, three.is_reg) == (5, 2, False, True)
    assert (one.resize_interpolation, two.resize_interpolation) == (None, "area")
    assert [subset.image_dir for subset in first.subsets] == ["C:\\hoge", "C:\\fuga"]
    assert (first.options.batch_size, second.options.batch_size) == (4, 3)
    assert (first.options.resolution, second.options.resolution) == ((512, 512), (768, 1024))
    assert (first.options.enable_bucket, second.options.enable_bucket, first.options.bucket_reso_steps) == (True, False, 32)
    assert loaded.config.data.keep_tokens == 9
    assert str(loaded.origins["datasets"]) == "d.toml:8"


def test_the_same_inline_and_as_json() -> None:
    write("d.toml", EXAMPLE)
    write("run.toml", "seed = 3\n" + EXAMPLE)
    general = {"shuffle_caption": True, "keep_tokens": 1}
    write("d.json", json.dumps({"general": general, "datasets": [{"resolution": 512, "subsets": [{"image_dir": "x"}]}]}))
    assert run("--dataset_config", "d.toml").config.data == run("--config", "run.toml").config.data
    (dataset,) = run("--dataset_config", "d.json").config.data.datasets
    assert dataset.subsets[0].options.shuffle_caption and dataset.options.resolution == (512, 512)


def test_general_without_datasets_is_a_section_like_any_other() -> None:
    write("run.toml", "[general]\nseed = 3\nshuffle_caption = true\n")
    config = run("--config", "run.toml").config
    assert config.training.seed == 3 and config.data.shuffle_caption and not config.data.datasets


def test_a_dataset_file_takes_the_place_of_the_folder_method() -> None:
    write("d.toml", "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'\ncache_info = true\n")
    assert run("--dataset_config", "d.toml", "--train_data_dir", "x").notices == (
        "d.toml:4  cache_info: has no effect here; sizes and captions are indexed in `cache_dir` anyway, and checked against the files",
        "command line  --train_data_dir: is not used: the dataset file names its own folders",
    )


def test_mistakes_are_told_with_their_lines() -> None:
    write(
        "d.toml",
        """[general]
shufle_caption = true
image_dir = 'x'
learning_rate = 1
[[datasets]]
train_batch_size = 2
resolution = 500
network_multiplier = 1.0
validation_split = 0.1
is_reg = true
[[datasets.subsets]]
image_dir = "C:\\nice"
keep_tokens = -1
enable_bucket = true
flip_aug = 'yes'
metadata_file = 'a.json'
random_crop = true
color_aug = false
[[datasets.subsets]]
num_repeats = 2
[[datasets.subsets]]
image_dir = 'twice'
[[datasets.subsets]]
image_dir = 'twice'
[[datasets]]
[[dataset]]
""",
    )
    assert problems("--dataset_config", "d.toml", "--seed", "x") == [
        "d.toml:2  shufle_caption: unknown key. Did you mean `shuffle_caption`?",
        "d.toml:3  image_dir: it belongs to [[datasets.subsets]], not to [general]",
        "d.toml:4  learning_rate: this is a setting of the run, not of a dataset; it stands outside [general] and [[datasets]]",
        "d.toml:6  train_batch_size: in a dataset file this is called `batch_size`",
        "d.toml:7  resolution: 500,500 is no multiple of 64 (bucket_reso_steps); the nearest is 512,512",
        "d.toml:9  validation_split: is not available yet; all pictures are trained",
        "d.toml:10  is_reg: it belongs to [[datasets.subsets]], not to [[datasets]]",
        "d.toml:12  image_dir: 'C:\\nice' has a control character in it: inside \"...\" a backslash begins an escape; "
        "write '...' instead, or / for \\",
        "d.toml:13  keep_tokens: -1 is too small; at least 0",
        "d.toml:14  enable_bucket: it holds for a whole dataset and belongs to [[datasets]] or [general], not to [[datasets.subsets]]",
        "d.toml:15  flip_aug: `yes` is neither true nor false",
        "d.toml:16  metadata_file: is not available yet; write caption files beside the pictures",
        "d.toml:17  random_crop: is not available yet; crops are centred",
        "d.toml:19  image_dir: it is missing; each [[datasets.subsets]] names its folder of pictures",
        "d.toml:24  image_dir: `twice` stands in this dataset twice; raise num_repeats to see its pictures more often",
        "d.toml:25  datasets: this dataset has no [[datasets.subsets]]; each names a folder in image_dir",
        "d.toml:26  dataset: a dataset file holds [general] and [[datasets]] only; other settings stand in the run's file",
        "command line  --seed: `x` is not a whole number",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[general]\n", "d.toml  datasets: there is no [[datasets]]; each needs a [[datasets.subsets]] with an image_dir"),
        ("[datasets]\nresolution = 512\n", "d.toml:1  datasets: this is a list of tables; write [[datasets]] with two brackets"),
        ("datasets = [1]\n", "d.toml:1  datasets: this is a list of tables; write [[datasets]]"),
        ("general = 1\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'\n", "d.toml:1  general: this is a table; write [general]"),
        ("[[datasets]]\n[datasets.subsets]\nimage_dir = 'a'\n", "d.toml:2  subsets: this is a list of tables; write [[datasets.subsets]]"),
        ("[[datasets]]\nx = \n", "d.toml:2: this is not valid TOML: invalid value. See toml.io for the rules"),
    ],
)
def test_a_dataset_file_of_the_wrong_form(text: str, said: str) -> None:
    write("d.toml", text)
    assert problems("--dataset_config", "d.toml") == [said]


def test_a_dataset_file_that_is_missing_or_named_beside_another() -> None:
    assert problems("--dataset_config", "gone.toml") == [
        "command line  --dataset_config: `gone.toml` does not exist; the path counts from the current folder"
    ]
    write("run.toml", "dataset_config = 'd.toml'\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'\n")
    assert problems("--config", "run.toml") == [
        "run.toml:1  dataset_config: names a dataset file, but run.toml:2 has [[datasets]] too; keep one"
    ]
    write("path.toml", 'dataset_config = "C:\\new.toml"\n')
    assert problems("--config", "path.toml") == [
        "path.toml:1  dataset_config: 'C:\\new.toml' has a control character in it: inside \"...\" a backslash begins an escape; "
        "write '...' instead, or / for \\"
    ]
