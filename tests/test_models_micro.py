"""The command that makes the built-in base models: the same bytes everywhere, and quick when they are there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from recipes.micro_base.__main__ import HASHES, is_made, main, path_of
from recipes.micro_base.weights import tensor


def test_what_is_there_and_right_is_kept_and_the_rest_made_again(
    micro_sd: Path, micro_sdxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "微 models"
    folder.mkdir()
    for name, path in zip(HASHES, (micro_sd, micro_sdxl), strict=True):
        shutil.copy(path, path_of(folder, name))
    before = path_of(folder, "micro-sd").read_bytes()
    assert main(["--out", str(folder)]) == 0
    assert capsys.readouterr().out.count("is there already") == 2
    path_of(folder, "micro-sd").write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert not is_made(path_of(folder, "micro-sd"), "micro-sd")
    assert main(["--out", str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.count("is there already") == 1
    assert said.count("made ") == 1
    assert path_of(folder, "micro-sd").read_bytes() == before


def test_a_tensor_depends_on_its_name_and_the_seed_alone() -> None:
    one = tensor("part.layer.weight", (8, 8), 1)
    tensor("part.other.weight", (100,), 1)
    assert torch.equal(tensor("part.layer.weight", (8, 8), 1), one)
    assert not torch.equal(tensor("part.layer.weight", (8, 8), 2), one)
    assert not torch.equal(tensor("part.layer2.weight", (8, 8), 1), one)
    assert one.std() == pytest.approx(8**-0.5, rel=0.2)
