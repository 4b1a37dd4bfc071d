"""Names of the original layout and of diffusers, for full-size models, both ways. No torch."""

from __future__ import annotations

import pytest
from models_fakes import FULL, SD1, SDXL, original

from engine.models import blueprint, keymap, specs
from engine.models.layouts import LAYOUTS
from engine.models.specs import ClipSpec, Spec, UnetSpec, VaeSpec

PARTS = [(layout.name, row.name) for layout in LAYOUTS for row in layout.parts]


def kind_of(family: str, part: str) -> keymap.Kind:
    return next(layout for layout in LAYOUTS if layout.name == family).part(part).kind


@pytest.mark.parametrize(("family", "part"), PARTS)
def test_names_and_shapes_return_from_a_round_trip(family: str, part: str) -> None:
    kind, shapes = kind_of(family, part), blueprint.tensors(FULL[family][part])
    there = keymap.to_original(kind, shapes)
    renamed = there.shapes(shapes)
    back = keymap.to_diffusers(kind, renamed)
    assert not there.leftovers
    assert not back.leftovers
    assert back.shapes(renamed) == shapes


@pytest.mark.parametrize(("family", "part"), PARTS)
def test_a_description_is_found_again_from_the_shapes(family: str, part: str) -> None:
    spec = FULL[family][part]
    shapes = blueprint.tensors(spec)
    found: Spec
    if isinstance(spec, UnetSpec):
        found = specs.unet(shapes, family, 1280 if family == "sdxl" else 0)
    elif isinstance(spec, VaeSpec):
        found = specs.vae(shapes, spec.scale)
    else:
        assert isinstance(spec, ClipSpec)
        found = specs.clip(shapes, spec.activation)
    assert found == spec


def test_full_size_checkpoints_have_the_known_number_of_tensors() -> None:
    assert [len(blueprint.tensors(SD1[part])) for part in ("unet", "vae", "text_encoder")] == [686, 248, 196]
    assert len(original("sd1", SD1)) == 1130
    assert len(original("sdxl", SDXL)) == 2514
    assert len(blueprint.tensors(SDXL["unet"])) == 1680


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("input_blocks.0.0.weight", "conv_in.weight"),
        ("input_blocks.1.0.in_layers.2.weight", "down_blocks.0.resnets.0.conv1.weight"),
        ("input_blocks.4.0.skip_connection.bias", "down_blocks.1.resnets.0.conv_shortcut.bias"),
        ("input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"),
        ("middle_block.1.transformer_blocks.0.attn2.to_k.weight", "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"),
        ("output_blocks.2.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"),  # no attention there: the upsampler is second
        ("output_blocks.5.2.conv.weight", "up_blocks.1.upsamplers.0.conv.weight"),
        ("output_blocks.11.1.proj_out.bias", "up_blocks.3.attentions.2.proj_out.bias"),
        ("time_embed.2.weight", "time_embedding.linear_2.weight"),
        ("out.2.bias", "conv_out.bias"),
    ],
)
def test_unet_names_by_example(theirs: str, ours: str) -> None:
    shapes = blueprint.tensors(SD1["unet"])
    moves = {move.sources[0]: move.targets[0] for move in keymap.to_original("unet", shapes).moves}
    assert moves[ours] == theirs


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("encoder.down.1.block.0.nin_shortcut.weight", "encoder.down_blocks.1.resnets.0.conv_shortcut.weight"),
        ("decoder.up.3.block.2.norm1.weight", "decoder.up_blocks.0.resnets.2.norm1.weight"),
        ("decoder.up.1.upsample.conv.bias", "decoder.up_blocks.2.upsamplers.0.conv.bias"),
        ("decoder.mid.attn_1.proj_out.weight", "decoder.mid_block.attentions.0.to_out.0.weight"),
        ("encoder.norm_out.bias", "encoder.conv_norm_out.bias"),
    ],
)
def test_vae_names_by_example(theirs: str, ours: str) -> None:
    shapes = blueprint.tensors(SD1["vae"])
    plan = keymap.to_original("vae", shapes)
    assert {move.sources[0]: move.targets[0] for move in plan.moves}[ours] == theirs
    assert plan.shapes(shapes)["decoder.mid.attn_1.q.weight"] == (512, 512, 1, 1)


def test_vae_attention_of_any_age_is_read() -> None:
    modern = blueprint.tensors(SD1["vae"])
    theirs = keymap.to_original("vae", modern).shapes(modern)
    flat = {name: shape[:2] if ".attn_1." in name and len(shape) == 4 else shape for name, shape in theirs.items()}
    assert keymap.to_diffusers("vae", flat).shapes(flat) == modern
    words = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, shape in modern.items():
        for new, earlier in words.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{earlier}.")
        old[name] = shape
    assert old != modern
    assert keymap.in_folder("vae", old).shapes(old) == modern


def test_open_clip_joins_queries_keys_and_values() -> None:
    shapes = blueprint.tensors(SDXL["text_encoder_2"])
    renamed = keymap.to_original("open_clip", shapes).shapes(shapes)
    assert renamed["transformer.resblocks.31.attn.in_proj_weight"] == (3840, 1280)
    assert renamed["transformer.resblocks.0.attn.in_proj_bias"] == (3840,)
    assert renamed["positional_embedding"] == (77, 1280)
    assert not any(".q_proj" in name for name in renamed)


def test_text_encoders_without_text_model_level_get_it() -> None:
    shapes = blueprint.tensors(SD1["text_encoder"])
    old = {name.removeprefix("text_model."): shape for name, shape in shapes.items()}
    plan = keymap.to_diffusers("clip", {**old, "embeddings.position_ids": (1, 77)})
    assert plan.shapes(old) == shapes
    assert plan.ignored == ("embeddings.position_ids",)


@pytest.mark.parametrize("kind", ["unet", "vae", "clip", "open_clip"])
def test_unknown_names_are_left_over(kind: keymap.Kind) -> None:
    assert keymap.to_diffusers(kind, {"strange.weight": (1,)}).leftovers == ("strange.weight",)
    assert keymap.to_original(kind, {"strange.weight": (1,)}).leftovers == ("strange.weight",)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("down_blocks.0.resnets.0.conv1.weight", (330, 320, 3, 3), "330 channels"),
        ("down_blocks.2.resnets.0.conv1.weight", (1248, 640, 3, 3), "heads of 64"),
        ("add_embedding.linear_1.weight", (1280, 2817), "six sizes"),
    ],
)
def test_shapes_that_fit_no_rule_are_refused(name: str, shape: specs.Shape, words: str) -> None:
    with pytest.raises(specs.Unfit, match=words) as caught:
        specs.unet({**blueprint.tensors(SDXL["unet"]), name: shape}, "sdxl", 1280)
    assert caught.value.name == name
