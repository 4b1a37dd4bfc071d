"""What a run says that it understood is true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runs import config, quiet

from engine.data.buckets import BucketOptions
from engine.data.folder import find
from engine.data.index import Index
from engine.data.items import Dataset
from engine.data.scan import scan
from engine.training import introduction
from engine.training import train as training

Pictures = Callable[..., list[Path]]


def lines(folder: Path, reg: Path | None = None) -> list[str]:
    found = find(folder, reg)
    with Index(None) as index:
        return introduction.folder_lines(scan([Dataset(found.subsets, BucketOptions((64, 64), minimum=64))], index))


def test_a_line_a_folder_says_what_is_learned(tmp_path: Path, pictures: Pictures) -> None:
    pictures(tmp_path / "pics" / "6_miku 1girl", caption="miku, 1girl, smiling")
    pictures(tmp_path / "pics" / "1_sks dog")
    pictures(tmp_path / "pics" / "3_style", caption="")
    mixed = pictures(tmp_path / "pics" / "2_cup", caption="cup, red")
    mixed[0].with_suffix(".txt").unlink()
    pictures(tmp_path / "reg" / "1_1girl")
    assert sorted(lines(tmp_path / "pics", tmp_path / "reg")) == [
        "1_1girl: regularisation, 2 pictures x 1 repeat; captions from the folder's name, `1girl`",
        "1_sks dog: 2 pictures x 1 repeat; captions from the folder's name, `sks dog`; learns `sks dog`",
        "2_cup: 2 pictures x 2 repeats; captions from .txt files (1) and the folder's name, `cup` (1); learns `cup`",
        "3_style: 2 pictures x 3 repeats; captions from .txt files; learns no words; not `style`, which is in no caption",
        "6_miku 1girl: 2 pictures x 6 repeats; captions from .txt files; learns `miku`; not `miku 1girl`, which is in no caption",
    ]


def test_without_a_resolution_the_models_own_is_taken_and_said(tmp_path: Path, micro_sd: Path, pictures: Pictures) -> None:
    pictures(tmp_path / "data" / "1_sks cat", ((200, 200),))
    reporter, said = quiet()
    words = ["--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(tmp_path / "data"), "--device", "cpu"]
    run = training.understand(config(tmp_path, *words, "--max_train_steps", "1"), (), reporter)
    introduction.introduce(run, "x")
    assert "resolution   64 x 64, as its file says\n" in said.getvalue()
    assert run.plan.order.scan.items[0].placement.bucket == (64, 64)
