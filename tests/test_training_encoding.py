"""Pictures encoded before the loop: one that changed after it was looked at stops the start, and the next start takes it as it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from runs import config, quiet

from engine.errors import UserError
from engine.training import train as training
from engine.training.encoding import cache_latents
from engine.training.train import Run


@pytest.fixture
def understood(tmp_path: Path, micro_sd: Path) -> Callable[..., Run]:
    """`understood(*flags)`: a run over two BMP files, which are as long with any content; nothing is encoded yet."""
    folder = tmp_path / "圖 片" / "2_sks dot"
    folder.mkdir(parents=True)
    for name, colour in (("a", "red"), ("b", "green")):
        Image.new("RGB", (64, 64), colour).save(folder / f"{name}.bmp")
    size = ("--resolution", "64", "--min_bucket_reso", "64", "--network_dim", "4", "--device", "cpu", "--max_train_steps", "1")
    where = ("--pretrained_model_name_or_path", str(micro_sd), "--train_data_dir", str(tmp_path / "圖 片"))
    return lambda *flags: training.understand(config(tmp_path, *where, *size, *flags), (), quiet()[0])


@pytest.mark.parametrize("flags", [(), ("--cache_latents_to_disk=false",)], ids=["on disk", "in memory"])
def test_the_next_start_takes_a_changed_picture_as_it_is(understood: Callable[..., Run], flags: tuple[str, ...]) -> None:
    """Of the same size and time as before, so that the index alone would know it by its old content for ever."""
    run = understood(*flags)
    changed = next(item for item in run.plan.order.scan.items if item.image.name == "b.bmp")
    before = changed.image.stat()
    Image.new("RGB", (64, 64), "blue").save(changed.image)
    os.utime(changed.image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changed.image.stat().st_size == before.st_size
    with pytest.raises(UserError, match="changed after it was looked at") as caught:
        cache_latents(run.config, run.base, run.compute, run.plan.order.scan, quiet()[0])
    assert caught.value.where == str(changed.image)

    run = understood(*flags)
    items = {item.image.name: item for item in run.plan.order.scan.items}
    assert items["b.bmp"].digest != changed.digest
    latents = cache_latents(run.config, run.base, run.compute, run.plan.order.scan, quiet()[0])
    assert not torch.equal(latents.get(items["a.bmp"])[0], latents.get(items["b.bmp"])[0])
