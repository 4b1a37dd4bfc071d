"""Adapter files of tiny SD1 and SDXL models, with values as after training, as diffusers and LyCORIS read them.

3x3 convolutions and the text encoders are included; alpha differs from the rank. One file has one alpha, one has another for its 3x3
convolutions, and in one the attention layers' alphas differ, which diffusers cannot read as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters_fakes import changes, filled, merge, settings
from torch import Tensor, nn

from engine import adapters, models, tensorfile
from engine.adapters import DeltaArgs, LycorisArgs
from engine.adapters.base import Method
from engine.models import configs
from engine.models.family import Family, Site
from engine.models.specs import ClipSpec, UnetSpec

pytestmark = pytest.mark.slow

SPECS: dict[str, dict[str, UnetSpec | ClipSpec]] = {
    "sd1": {
        "unet": UnetSpec(4, 4, (32, 64, 64, 64), 2, (1, 1, 1, 0), 1, 32, (8, 8, 8, 8), linear_projection=False),
        "text_encoder": ClipSpec(32, 2, 1, 64, "quick_gelu"),
    },
    "sdxl": {
        "unet": UnetSpec(4, 4, (32, 64, 128), 2, (0, 1, 2), 2, 96, (1, 1, 2), True, label_width=64 + 6 * 8, size_width=8),
        "text_encoder": ClipSpec(32, 2, 1, 64, "quick_gelu"),
        "text_encoder_2": ClipSpec(64, 3, 1, 128, "gelu", projection=64),
    },
}
COUNTS = {"sd1": 277 + 2 * 6, "sdxl": 258 + 2 * 6 + 3 * 6}  # U-Net, then six a layer of each text encoder
RATES = {"unet": 1.0, "text_encoder": 1.0, "text_encoder_2": 1.0}
ALPHAS = {"one": {3.0}, "convolutions' own": {3.0, 1.0}, "attention's differ": {3.0}}  # in the file
CASES = pytest.mark.parametrize(("family", "kind"), [(family, kind) for family in SPECS for kind in ALPHAS])


@dataclass
class Model:
    """A tiny model with random weights, and one fixed input."""

    family: Family
    parts: dict[str, nn.Module]

    def sites(self) -> list[Site]:
        return [site for part, network in self.parts.items() for site in self.family.sites(part, network)]

    def output(self) -> Tensor:
        """One prediction in float32, text encoders included."""
        noise = torch.randn(2, 4, 16, 24, generator=torch.Generator().manual_seed(5))
        size = torch.tensor([[128, 192, 0, 0, 128, 192]] * 2) if "text_encoder_2" in self.parts else None
        with torch.no_grad():
            cond = self.family.encode_text(self.parts, self.family.tokenize(["a red cat, on a mat", "dog"]))
            return self.family.predict(self.parts["unet"], noise, torch.tensor([17.0, 801.0]), cond, size)

    def weights(self) -> dict[str, Tensor]:
        return {site.name: site.weight().detach().clone() for site in self.sites()}


def model(name: str) -> Model:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(3)
    parts: dict[str, nn.Module] = {}
    for part, spec in SPECS[name].items():
        if isinstance(spec, UnetSpec):
            parts[part] = UNet2DConditionModel.from_config(configs.unet(spec))
        else:
            kind = CLIPTextModelWithProjection if spec.projection else CLIPTextModel
            parts[part] = kind(CLIPTextConfig(**configs.clip(spec), attn_implementation="sdpa"))
        parts[part].eval().requires_grad_(False)
    return Model(models.get(name), parts)


def trained(subject: Model, kind: str) -> Method:
    """A LoRA of rank 4, 2 in 3x3 convolutions, alpha 3, with random factors."""
    options = DeltaArgs(conv_dim=2, conv_alpha=3.0 if kind == "one" else 1.0)
    method = adapters.make(adapters.row("lora"), subject.sites(), settings(options, dim=4, alpha=3, rates=RATES))
    if kind == "attention's differ":
        weights = method.tensors(torch.float32)
        for name in weights:
            if name.endswith(("to_q.alpha", "mlp_fc1.alpha")):
                weights[name] = torch.tensor(0.7)
        method = continued(subject, weights)
    source = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for group in method.parameter_groups():
            for parameter in group.params:
                parameter.normal_(std=0.15, generator=source)
    method.train(False)
    return method


def continued(subject: Model, weights: dict[str, Tensor]) -> Method:
    """A method that takes ranks, alphas and values from a file."""
    wanted = settings(dim=1, alpha=None, rates=RATES, weights=weights, dim_from_weights=True)
    return adapters.make(adapters.row("lora"), subject.sites(), wanted)


def saved(method: Method, path: Path) -> dict[str, Tensor]:
    tensors = method.tensors(torch.float32)
    tensorfile.write(path, tensors, {"ss_network_module": "networks.lora"})
    return tensors


def pipeline(name: str, subject: Model) -> Any:
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    common = {
        "vae": AutoencoderKL(block_out_channels=(32,), norm_num_groups=32),
        "tokenizer": None,
        "scheduler": EulerDiscreteScheduler(steps_offset=1),
        **subject.parts,
    }
    if name == "sdxl":
        return StableDiffusionXLPipeline(tokenizer_2=None, **common)
    return StableDiffusionPipeline(safety_checker=None, feature_extractor=None, requires_safety_checker=False, **common)


@CASES
def test_ours_merged_by_us_and_fused_by_diffusers_are_the_same_model(tmp_path: Path, family: str, kind: str) -> None:
    base = model(family)
    plain, before = base.output(), base.weights()
    method = trained(base, kind)
    assert len(method.names()) == COUNTS[family]
    method.attach()
    applied = base.output()
    spread = plain.std()
    assert (applied - plain).std() > 0.1 * spread, "the LoRA under test must matter"
    tensors = saved(method, tmp_path / "lora.safetensors")
    assert {float(tensor) for key, tensor in tensors.items() if key.endswith(".alpha")} == ALPHAS[kind]
    assert len(tensors) == 3 * COUNTS[family]
    wanted = changes(method)
    method.detach()

    ours = model(family)
    merge(adapters.from_file(ours.sites(), tensorfile.read(tmp_path / "lora.safetensors")), 1.0)
    assert (ours.output() - applied).abs().max() < 1e-4 * spread

    theirs = model(family)
    sites = theirs.sites()  # before diffusers wraps the layers
    pipe = pipeline(family, theirs)
    pipe.load_lora_weights(str(tmp_path), weight_name="lora.safetensors")
    pipe.fuse_lora(components=list(theirs.parts))
    pipe.unload_lora_weights()
    for site in sites:
        if site.name not in wanted:
            assert torch.equal(site.weight(), before[site.name]), site.name
            continue
        torch.testing.assert_close(site.weight() - before[site.name], wanted[site.name].view_as(site.weight()), atol=2e-6, rtol=1e-4)
        assert (site.weight() != before[site.name]).any(), site.name
    assert (theirs.output() - applied).abs().max() < 1e-4 * spread


@pytest.fixture
def lycoris() -> Any:
    """LyCORIS' network class, its global settings put back afterwards."""
    from lycoris import LycorisNetwork

    kept = LycorisNetwork.LORA_PREFIX
    yield LycorisNetwork
    LycorisNetwork.LORA_PREFIX = kept


@CASES
def test_a_run_that_continues_from_the_file_begins_where_it_ended(family: str, kind: str) -> None:
    base = model(family)
    method = trained(base, kind)
    method.attach()
    applied = base.output()
    method.detach()
    for weights in (method.tensors(torch.float32), dict(reversed(method.tensors(torch.float32).items()))):
        again = continued(base, weights)
        again.train(False)
        again.attach()
        assert (base.output() - applied).abs().max() < 1e-5 * applied.std()
        again.detach()
        assert again.tensors(torch.float32).keys() == weights.keys()


@pytest.mark.parametrize("family", list(SPECS))
@pytest.mark.parametrize("algo", ["lora", "loha"])
@pytest.mark.parametrize("alpha", [3.0, 0.7])
def test_lycoris_applies_the_file_alike(lycoris: Any, family: str, algo: Any, alpha: float) -> None:
    """Preset full, the U-Net's ends among them. LyCORIS' forward is the measure, not its merge, which applies alpha / r twice.

    It names modules after diffusers' paths, so SDXL's are renamed for it.
    """
    from lycoris import create_lycoris_from_weights

    base = model(family)
    options = LycorisArgs(algo, conv_dim=2, conv_alpha=alpha)
    method = filled(adapters.make(adapters.row("lycoris.kohya"), base.sites(), settings(options, alpha=alpha, rates=RATES)), std=0.3)
    method.train(False)
    plain = base.output()
    method.attach()
    applied = base.output()
    assert (applied - plain).std() > 0.1 * plain.std(), "the change under test must matter"
    tensors = method.tensors(torch.float32)
    method.detach()
    paths = {id(module): (part, path) for part, network in base.parts.items() for path, module in network.named_modules()}
    place = {site.name: paths[id(site.layer)] for site in base.sites()}
    for part, network in base.parts.items():
        lycoris.LORA_PREFIX = part
        renamed = renamed_for(part, tensors, place)
        found, _ = create_lycoris_from_weights(1.0, None, network, weights_sd=renamed)
        assert len(found.loras) == len({key.split(".")[0] for key in renamed}) > 0
        found.apply_to()
    assert sum(part_of(key, place) in base.parts for key in tensors) == len(tensors)
    assert len(method.names()) == COUNTS[family] + (4 if family == "sd1" else 0)
    assert (base.output() - applied).abs().max() < 1e-4 * plain.std()


def part_of(key: str, place: dict[str, tuple[str, str]]) -> str:
    return place[key.split(".")[0]][0]


def renamed_for(part: str, tensors: dict[str, Tensor], place: dict[str, tuple[str, str]]) -> dict[str, Tensor]:
    name: Callable[[str], str] = lambda key: f"{part}_{place[key.split('.')[0]][1].replace('.', '_')}.{key.split('.', 1)[1]}"  # noqa: E731
    return {name(key): tensor for key, tensor in tensors.items() if part_of(key, place) == part}
