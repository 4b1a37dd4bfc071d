"""Reading and writing whole checkpoints: nothing is lost between the layouts, and diffusers reads the same tensors."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine import headers, models
from engine.errors import UserError
from engine.models import networks
from engine.models.family import Checkpoint, Marks, Target
from engine.models.recognise import recognise, recognise_vae
from engine.models.specs import ClipSpec, UnetSpec
from engine.models.vae import load_vae

FAMILIES = ["sd1", "sdxl"]
_UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def single(micro_sd: Path, micro_sdxl: Path) -> dict[str, Path]:
    return {"sd1": micro_sd, "sdxl": micro_sdxl}


@pytest.fixture(scope="module")
def folders(single: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The micro models in the diffusers layout, written by us. Read only."""
    made = {}
    for family, path in single.items():
        made[family] = tmp_path_factory.mktemp("diffusers layout") / family
        models.get(family).save(loaded(recognise(path)), Target(made[family], "diffusers"))
    return made


def loaded(checkpoint: Checkpoint, dtype: torch.dtype | None = None) -> dict[str, nn.Module]:
    family = models.get(checkpoint.family)
    return {part: family.load(checkpoint, part, dtype, "cpu") for part in family.parts}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype, name
        assert tensor.shape == right[name].shape, name
        assert torch.equal(tensor, right[name]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_original_to_diffusers_and_back_keeps_every_tensor(family: str, single: dict[str, Path], tmp_path: Path) -> None:
    tensors = {
        name: tensor.float() if name.startswith("first_stage_model.") else tensor for name, tensor in load_file(single[family]).items()
    }
    if family == "sdxl":  # a value of its own, in another dtype than the rest
        tensors["conditioner.embedders.1.model.logit_scale"] = torch.tensor(4.605170249938965, dtype=torch.float32)
        tensors["conditioner.embedders.0.transformer.text_model.final_layer_norm.bias"] = torch.rand(32).bfloat16()
    save_file(tensors, tmp_path / "source.safetensors")
    family_of = models.get(family)
    family_of.save(loaded(recognise(tmp_path / "source.safetensors")), Target(tmp_path / "folder", "diffusers"))
    family_of.save(loaded(recognise(tmp_path / "folder")), Target(tmp_path / "back.safetensors"))
    assert_same(load_file(tmp_path / "back.safetensors"), tensors)


@pytest.mark.parametrize(
    ("family", "marks"),
    [("sdxl", Marks()), ("sd1", Marks("v_prediction")), ("sdxl", Marks("v_prediction", True)), ("sd1", Marks("epsilon", True))],
)
def test_marks_survive_both_layouts(family: str, marks: Marks, single: dict[str, Path], tmp_path: Path) -> None:
    parts = loaded(recognise(single[family]))
    models.get(family).save(parts, Target(tmp_path / "a.safetensors", marks=marks))
    models.get(family).save(parts, Target(tmp_path / "folder", "diffusers", marks=marks))
    assert recognise(tmp_path / "a.safetensors").marks == marks
    assert recognise(tmp_path / "folder").marks == marks
    written = load_file(tmp_path / "a.safetensors")
    assert ("v_pred" in written, "ztsnr" in written) == (marks.prediction == "v_prediction", marks.zero_terminal_snr)


def without_weights(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors")))


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_reads_our_single_file_tensor_by_tensor(
    family: str, single: dict[str, Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    import diffusers

    config = without_weights(folders[family], tmp_path / "config")
    name = "StableDiffusionPipeline" if family == "sd1" else "StableDiffusionXLPipeline"
    pipe = getattr(diffusers, name).from_single_file(str(single[family]), config=str(config), torch_dtype=torch.float16)
    for part, network in loaded(recognise(single[family])).items():
        assert_same(networks.tensors(getattr(pipe, part)), {k: v for k, v in networks.tensors(network).items() if k != "logit_scale"})


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_reads_our_folder(family: str, single: dict[str, Path], folders: dict[str, Path]) -> None:
    import diffusers

    name = "StableDiffusionPipeline" if family == "sd1" else "StableDiffusionXLPipeline"
    pipe = getattr(diffusers, name).from_pretrained(str(folders[family]), dtype=torch.float16)
    assert pipe.scheduler.config.beta_schedule == "scaled_linear"
    assert pipe.tokenizer("a photo of sks dog").input_ids == [49406, 320, 1125, 539, 48136, 1929, 49407]
    for part, network in loaded(recognise(single[family])).items():
        assert_same(networks.tensors(getattr(pipe, part)), {k: v for k, v in networks.tensors(network).items() if k != "logit_scale"})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_ckpt_is_the_same_model(family: str, single: dict[str, Path], tmp_path: Path) -> None:
    tensors = load_file(single[family])
    extra = {"betas": torch.ones(1000), "model_ema.decay": torch.tensor(0.999)}
    torch.save({"state_dict": {**tensors, **extra}, "global_step": 1}, tmp_path / "model.ckpt")
    checkpoint = recognise(tmp_path / "model.ckpt")
    plain = recognise(single[family])
    assert checkpoint.family == family
    for part, network in loaded(checkpoint).items():
        assert_same(networks.tensors(network), networks.tensors(models.get(family).load(plain, part, None, "cpu")))


def test_only_the_wanted_networks_tensors_are_read(single: dict[str, Path], tmp_path: Path) -> None:
    """Every other network's bytes are taken out of the archive."""
    tensors = load_file(single["sd1"])
    tensors = dict(sorted(tensors.items(), key=lambda item: item[0].startswith("first_stage_model."), reverse=True))
    torch.save(tensors, tmp_path / "whole.ckpt")
    wanted = sum(1 for name in tensors if name.startswith("first_stage_model."))
    with zipfile.ZipFile(tmp_path / "whole.ckpt") as whole, zipfile.ZipFile(tmp_path / "part.ckpt", "w") as part:
        for name in whole.namelist():
            folder, _, key = name.rpartition("/")
            if not folder.endswith("/data") or int(key) < wanted:
                part.writestr(name, whole.read(name))
    family, checkpoint = models.get("sd1"), recognise(tmp_path / "part.ckpt")
    family.load(checkpoint, "vae", None, "cpu")
    with pytest.raises(UserError, match="incomplete or damaged"):
        family.load(checkpoint, "unet", None, "cpu")


def test_old_sd1_files_load(single: dict[str, Path], tmp_path: Path) -> None:
    """No `text_model.` level, damaged position_ids, the autoencoder's attention as matrices: all seen in old merges."""
    tensors = load_file(single["sd1"])
    old = {name.replace(".transformer.text_model.", ".transformer."): tensor for name, tensor in tensors.items()}
    old = {name: tensor.flatten(1) if "attn_1" in name and tensor.ndim == 4 else tensor for name, tensor in old.items()}
    old["cond_stage_model.transformer.embeddings.position_ids"] = torch.arange(77).half()[None] + 0.5
    save_file(old, tmp_path / "old.safetensors")
    models.get("sd1").save(loaded(recognise(tmp_path / "old.safetensors")), Target(tmp_path / "new.safetensors"))
    assert_same(load_file(tmp_path / "new.safetensors"), tensors)


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_are_frozen_complete_and_in_the_wanted_dtype(family: str, single: dict[str, Path]) -> None:
    for network in loaded(recognise(single[family]), torch.bfloat16).values():
        assert not network.training
        assert all(not parameter.requires_grad and parameter.dtype == torch.bfloat16 for parameter in network.parameters())
        assert not any(tensor.is_meta for tensor in [*network.parameters(), *network.buffers()])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_memory_map_stays_open(single: dict[str, Path]) -> None:
    parts = loaded(recognise(single["sd1"]))
    assert single["sd1"].name not in Path("/proc/self/maps").read_text(encoding="utf-8")
    assert parts


def test_saving_casts_and_writes_metadata(single: dict[str, Path], tmp_path: Path) -> None:

    parts = loaded(recognise(single["sdxl"]))
    named = {"modelspec.title": "mine", "ss_x": "1"}
    models.get("sdxl").save(parts, Target(tmp_path / "a.safetensors", dtype=torch.bfloat16, metadata=named))
    header = headers.read(tmp_path / "a.safetensors")
    assert {info.dtype for info in header.tensors.values()} == {"BF16"}
    assert header.metadata["modelspec.title"] == "mine"
    assert header.metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
    with pytest.raises(ValueError, match="needs"):
        models.get("sdxl").save({"unet": parts["unet"]}, Target(tmp_path / "b.safetensors"))


def test_a_folder_that_was_not_finished_is_no_model(single: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.models import saving

    parts = loaded(recognise(single["sd1"]))
    models.get("sd1").save(parts, Target(tmp_path / "folder", "diffusers"))

    def full(*_: object) -> None:
        raise UserError("the disk is full", "free some space")

    monkeypatch.setattr(saving.tensorfile, "write", full)
    with pytest.raises(UserError, match="the disk is full"):
        models.get("sd1").save(parts, Target(tmp_path / "folder", "diffusers"))
    with pytest.raises(UserError, match=r"model_index\.json"):
        recognise(tmp_path / "folder")


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the SD1 folder to change."""
    return Path(shutil.copytree(folders["sd1"], tmp_path / "model"))


def edit(path: Path, **changes: object) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **changes}), encoding="utf-8")


def test_a_folders_configuration_decides_what_shapes_cannot_tell(folder: Path) -> None:
    edit(folder / "text_encoder" / "config.json", num_attention_heads=4, torch_dtype="float16")
    edit(folder / "unet" / "config.json", attention_head_dim=[4, 8, 8, 16])
    checkpoint = recognise(folder)
    encoder, unet = checkpoint.networks["text_encoder"].spec, checkpoint.networks["unet"].spec
    assert isinstance(encoder, ClipSpec)
    assert isinstance(unet, UnetSpec)
    assert (encoder.heads, unet.heads) == (4, (4, 8, 8, 16))
    network = models.get("sd1").load(checkpoint, "unet", None, "cpu")
    assert network.get_submodule("down_blocks.0.attentions.0.transformer_blocks.0.attn1").heads == 4
    assert checkpoint.configs["text_encoder"]["hidden_size"] == encoder.width


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("unet", {"block_out_channels": [64, 64, 64, 128]}, "`block_out_channels`"),
        ("unet", {"cross_attention_dim": 768}, "`cross_attention_dim` = 768"),
        ("unet", {"attention_head_dim": 7}, "does not divide"),
        ("unet", {"dual_cross_attention": True}, "`dual_cross_attention`"),
        ("unet", {"class_embed_type": "timestep"}, "`class_embed_type` = 'timestep' is a variant"),
        ("unet", {"time_embedding_type": "fourier"}, "`time_embedding_type`"),
        ("vae", {"scaling_factor": 0.13025}, "scaled by 0.13025"),
        ("vae", {"latent_channels": 16}, "`latent_channels`"),
        ("text_encoder", {"hidden_act": "relu"}, "`hidden_act`"),
        ("text_encoder", {"hidden_act": "gelu"}, "Stable Diffusion 2.x"),
        ("text_encoder", {"num_attention_heads": 7}, "cannot share"),
        ("text_encoder", {"hidden_size": 768}, "`hidden_size` = 768"),
        ("scheduler", {"prediction_type": "flow_prediction"}, "`prediction_type`"),
        ("scheduler", {"beta_schedule": "linear"}, "noise schedule"),
    ],
)
def test_a_configuration_that_disagrees_is_an_error(folder: Path, part: str, changes: dict[str, object], words: str) -> None:
    edit(folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json"), **changes)
    with pytest.raises(UserError, match=words) as caught:
        recognise(folder)
    assert part in caught.value.where or part == "text_encoder"


def resave(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(change(load_file(path)), path, {"format": "pt"})


@pytest.mark.parametrize("change", [lambda name: name.removeprefix("text_model."), lambda name: name])
def test_text_encoder_folders_of_every_transformers_are_read(folder: Path, change: Callable[[str], str], single: dict[str, Path]) -> None:
    """Before 4.31 with `position_ids`, since 5.6 without `text_model.`."""
    ids = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    path = folder / "text_encoder" / "model.safetensors"
    resave(path, lambda tensors: {change(name): tensor for name, tensor in (tensors | ids).items()})
    own = models.get("sd1").load(recognise(folder), "text_encoder", None, "cpu")
    assert_same(networks.tensors(own), networks.tensors(models.get("sd1").load(recognise(single["sd1"]), "text_encoder", None, "cpu")))


def test_shards_variants_and_bin_files_are_read(folder: Path) -> None:
    whole = recognise(folder)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    names = sorted(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for name, own in halves.items():
        save_file({key: tensors[key] for key in own}, folder / "unet" / name)
    path.unlink()
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, own in halves.items() for key in own}}), encoding="utf-8")
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    vae.rename(vae.with_name("diffusion_pytorch_model.fp16.safetensors"))
    encoder = folder / "text_encoder" / "model.safetensors"
    torch.save(load_file(encoder), encoder.with_name("pytorch_model.bin"))
    encoder.unlink()
    assert {part: source.spec for part, source in recognise(folder).networks.items()} == {
        part: source.spec for part, source in whole.networks.items()
    }
    assert_same(models.get("sd1").load(recognise(folder), "unet", None, "cpu").state_dict(), tensors)
    (folder / "unet" / "b.safetensors").unlink()
    with pytest.raises(UserError, match=r"names `b\.safetensors`"):
        recognise(folder)
    shutil.rmtree(folder / "vae")
    index.unlink()
    with pytest.raises(UserError, match="no weights are here"):
        recognise(folder)


def test_a_vae_comes_from_anywhere(single: dict[str, Path], folders: dict[str, Path], tmp_path: Path) -> None:
    wanted = load_vae(single["sd1"], "sd1", None, "cpu").state_dict()
    prefix = "first_stage_model."
    bare = {name.removeprefix(prefix): tensor for name, tensor in load_file(single["sd1"]).items() if name.startswith(prefix)}
    save_file(bare, tmp_path / "bare.vae.safetensors")
    torch.save({"state_dict": {**bare, "loss.logvar": torch.zeros(())}}, tmp_path / "bare.vae.pt")
    folder = folders["sd1"] / "vae"
    sources = [
        tmp_path / "bare.vae.safetensors",
        tmp_path / "bare.vae.pt",
        folders["sd1"],
        folder,
        folder / "diffusion_pytorch_model.safetensors",
    ]
    for path in sources:
        assert_same(load_vae(path, "sd1", None, "cpu").state_dict(), wanted)
    with pytest.raises(UserError, match="scaled by 0.18215"):
        recognise_vae(folder, "sdxl")
