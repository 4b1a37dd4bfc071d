"""Reading .ckpt files without executing anything in them."""

from __future__ import annotations

import io
import os
import pickle
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine import pickled
from engine.errors import UserError
from engine.models.tensor_sources import open_file
from engine.models.weights import reader

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


def read(path: Path) -> dict[str, Tensor]:
    source = open_file(path)
    with reader(source) as get:
        return {name: get(name) for name in source.entries}


def test_tensors_come_back_equal(tmp_path: Path) -> None:
    tensors = {str(dtype): torch.arange(24).reshape(2, 3, 4).to(dtype) for dtype in DTYPES}
    tensors |= {"scalar": torch.tensor(3.5), "empty": torch.zeros(0), "fp8": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn)}
    torch.save(tensors, tmp_path / "a.ckpt")
    back = read(tmp_path / "a.ckpt")
    assert list(back) == list(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert torch.equal(back[name].float(), tensor.float())


def test_views_of_one_storage_are_told_apart(tmp_path: Path) -> None:
    whole = torch.arange(60.0).reshape(6, 10)
    views = {"whole": whole, "row": whole[2], "transposed": whole.T, "steps": whole[::2, 1::3], "expanded": whole[1:2].expand(4, 10)}
    torch.save({"state_dict": OrderedDict(views)}, tmp_path / "a.ckpt")
    for name, tensor in read(tmp_path / "a.ckpt").items():
        assert torch.equal(tensor, views[name])
        assert tensor.is_contiguous()


def test_parameters_and_state_dicts_are_unwrapped(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    torch.save({"state_dict": layer.state_dict(), "epoch": 3, "global_step": 7}, tmp_path / "a.ckpt")
    torch.save({"weight": layer.weight, "bias": layer.bias}, tmp_path / "b.ckpt")
    for path in (tmp_path / "a.ckpt", tmp_path / "b.ckpt"):
        assert torch.equal(read(path)["weight"], layer.weight)


def foreign(module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> type:
    """A class of a package that is there while the file is written."""
    made = type(name, (), {"__module__": module, "__init__": lambda self: self.__dict__.update(best=1.5)})
    for end in range(1, module.count(".") + 2):
        parent = ".".join(module.split(".")[:end])
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    setattr(sys.modules[module], name, made)
    return made


def test_a_lightning_checkpoint_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like sd-v1-4.ckpt: callbacks keyed by a class, its instances, optimizer states, numpy scalars among the values."""
    import numpy as np

    module = "pytorch_lightning.callbacks.model_checkpoint"
    callback = foreign(module, "ModelCheckpoint", monkeypatch)
    content = {
        "epoch": 15,
        "global_step": 470000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": OrderedDict(weight=torch.ones(2, 2), scale=np.float64(0.18215)),
        "callbacks": {callback: {"best_model_score": torch.tensor(1.0), "monitor": None}, "other": callback()},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "loops": np.arange(3),
        "names": {np.dtype("float32"), frozenset([1])},
        "path": Path("somewhere"),
    }
    torch.save(content, tmp_path / "lightning.ckpt")
    monkeypatch.undo()
    back = read(tmp_path / "lightning.ckpt")
    assert list(back) == ["weight"]
    assert torch.equal(back["weight"], torch.ones(2, 2))
    assert module not in sys.modules


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f'echo owned > "{self.path}"',)


class Evaluates:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.mark.parametrize("kind", [Malicious, Evaluates])
def test_code_in_a_checkpoint_does_not_run(kind: type, tmp_path: Path) -> None:
    trace = tmp_path / "owned"
    torch.save({"state_dict": {"weight": torch.ones(1), "bad": kind(trace)}, "worse": [kind(trace)]}, tmp_path / "bad.ckpt")
    assert list(read(tmp_path / "bad.ckpt")) == ["weight"]
    assert not trace.exists()
    with zipfile.ZipFile(tmp_path / "bad.ckpt") as archive:  # the trap is armed: an ordinary unpickler would step into it
        data = archive.read("bad/data.pkl")
    assert b"system" in data or b"eval" in data


@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("builtins", "getattr"), ("torch.hub", "load"), ("a", "b.c")])
def test_every_unknown_name_becomes_inert(module: str, name: str) -> None:
    made = pickled._Unpickler(io.BytesIO()).find_class(module, name)
    assert isinstance(made, type)
    assert issubclass(made, pickled._Inert)
    made(1, key=2)("called")["item"] = 3


def zip_with(path: Path, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    return path


@pytest.mark.parametrize("data", [b"", b"garbage", pickle.dumps(3)[:-1], b"\x80\x02Q.", b"\x80\x02X\xff\xff\xff\x7fa."])
def test_damaged_pickles_are_user_errors(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be understood|damaged"):
        pickled.contents(zip_with(tmp_path / "a.ckpt", data))


def test_other_content_has_no_tensors(tmp_path: Path) -> None:
    assert not pickled.contents(zip_with(tmp_path / "a.ckpt", pickle.dumps([1, {"a": 2}], 2))).tensors
    with zipfile.ZipFile(tmp_path / "b.ckpt", "w") as archive:
        archive.writestr("model.safetensors", b"x")
    with pytest.raises(UserError, match="zip archive, but not a PyTorch checkpoint"):
        open_file(tmp_path / "b.ckpt")


def test_half_a_checkpoint_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"weight": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="incomplete or damaged"):
        open_file(path)


def test_a_storage_that_is_too_short_is_told(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1000)}, tmp_path / "a.ckpt")
    with zipfile.ZipFile(tmp_path / "a.ckpt") as archive, zipfile.ZipFile(tmp_path / "b.ckpt", "w") as short:
        for name in archive.namelist():
            short.writestr(name, archive.read(name)[:100] if "/data/" in name else archive.read(name))
    with pytest.raises(UserError, match="too short"):
        read(tmp_path / "b.ckpt")


def test_formats_before_torch_1_6_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    with tarfile.open(tmp_path / "older.ckpt", "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(tmp_path / "old.ckpt", "pickle")
    for name in ("old.ckpt", "older.ckpt"):
        with pytest.raises(UserError, match=r"before 1\.6") as caught:
            open_file(tmp_path / name)
        assert "safetensors" in caught.value.hint
