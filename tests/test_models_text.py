"""Encoding text: the layers, norms, chunks and the pooled output, against transformers, diffusers and open_clip's own formula."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine import models
from engine.errors import UserError
from engine.models import networks, text, tokens, weights
from engine.models.recognise import recognise
from engine.models.specs import ClipSpec

CAPTIONS = ["a photo of sks dog", "masterpiece, best quality, 1girl, " * 9, ""]
TextParts = dict[str, nn.Module]


def encoders_of(family: str, path: Path) -> TextParts:
    checkpoint = recognise(path)
    return {part: models.get(family).load(checkpoint, part, torch.float32, "cpu") for part in models.get(family).text_parts}


@pytest.fixture(scope="module")
def sd1(micro_sd: Path) -> TextParts:
    return encoders_of("sd1", micro_sd)


@pytest.fixture(scope="module")
def sdxl(micro_sdxl: Path) -> TextParts:
    return encoders_of("sdxl", micro_sdxl)


@pytest.mark.parametrize("clip_skip", [None, 1, 2])
def test_sd1_states_equal_transformers(clip_skip: int | None, sd1: TextParts) -> None:
    family, encoder = models.get("sd1"), sd1["text_encoder"]
    ids = family.tokenize(CAPTIONS)
    with torch.no_grad():
        theirs = encoder(ids[0], output_hidden_states=True)
        expected = encoder.final_layer_norm(theirs.hidden_states[-(clip_skip or 1)])
        cond = family.encode_text(sd1, ids, clip_skip)
    assert ids.shape == (1, 3, 77)
    assert torch.equal(cond.hidden, expected)
    assert cond.pooled is None
    if clip_skip is None:
        assert torch.equal(expected, theirs.last_hidden_state)


def test_sdxl_states_equal_transformers(sdxl: TextParts) -> None:
    family = models.get("sdxl")
    ids = family.tokenize(CAPTIONS)
    with torch.no_grad():
        first = sdxl["text_encoder"](ids[0], output_hidden_states=True).hidden_states[-2]
        second = sdxl["text_encoder_2"](ids[1], output_hidden_states=True)
        cond = family.encode_text(sdxl, ids)
        assert torch.equal(family.encode_text(sdxl, ids, 2).hidden, cond.hidden)  # clip_skip has no meaning
    assert torch.equal(cond.hidden, torch.cat([first, second.hidden_states[-2]], -1))
    assert cond.pooled is not None
    assert torch.allclose(cond.pooled, second.text_embeds, atol=1e-6)
    assert ids[0, 0, 10] == 49407
    assert ids[1, 0, 10] == 0


@pytest.mark.parametrize("family_name", ["sd1", "sdxl"])
def test_states_equal_the_diffusers_pipelines(family_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    import diffusers
    from transformers import CLIPTokenizer

    parts: TextParts = request.getfixturevalue(family_name)
    tokens.write_folder(tmp_path / "end", "<|endoftext|>")
    tokens.write_folder(tmp_path / "zero", "!")
    tokenizer = CLIPTokenizer.from_pretrained(str(tmp_path / "end"))
    scheduler = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
    family = models.get(family_name)
    prompts = [caption[:100] for caption in CAPTIONS]
    with torch.no_grad():
        cond = family.encode_text(parts, family.tokenize(prompts))
        if family_name == "sd1":
            pipe = diffusers.StableDiffusionPipeline(
                None, parts["text_encoder"], tokenizer, None, scheduler, None, None, requires_safety_checker=False,
            )  # fmt: skip
            hidden = pipe.encode_prompt(prompts, "cpu", 1, False)[0]
        else:
            pipe = diffusers.StableDiffusionXLPipeline(
                None, parts["text_encoder"], parts["text_encoder_2"], tokenizer, CLIPTokenizer.from_pretrained(str(tmp_path / "zero")),
                None, scheduler, add_watermarker=False,
            )  # fmt: skip
            hidden, _, pooled, _ = pipe.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False)
            assert cond.pooled is not None
            assert torch.allclose(cond.pooled, pooled, atol=1e-6)
    assert torch.allclose(cond.hidden, hidden, atol=1e-6)


@pytest.mark.parametrize(("length", "count"), [(75, 1), (150, 2), (225, 3)])
def test_long_captions_are_passes_of_77(length: int, count: int) -> None:
    flat = torch.tensor(tokens.tokenizer().encode(["cat " * 100], length).ids)
    rows = text.passes(flat, tokens.END)
    assert rows.shape == (1, count, 77)
    for number, row in enumerate(rows[0].tolist()):
        body = max(0, min(75, 100 - 75 * number))
        assert row == [49406] + [2368] * body + [49407] * (76 - body)


def test_long_captions_padded_with_zero_end_where_their_text_does() -> None:
    """sd-scripts' layout: a full pass ends with the end token, a pass without text starts with it, others keep their padding."""
    flat = torch.tensor(tokens.tokenizer().encode(["cat " * 75, "cat " * 80, "cat " * 225, "cat " * 74], 225, pad=0).ids)
    rows = text.passes(flat, 0).tolist()
    full = [49406] + [2368] * 75 + [49407]
    empty = [49406, 49407] + [0] * 75
    assert rows[0] == [full, empty, empty]
    assert rows[1] == [full, [49406] + [2368] * 5 + [49407] + [0] * 70, empty]
    assert rows[2] == [full, full, full]
    assert rows[3][0] == [49406] + [2368] * 74 + [49407, 0]
    assert rows[3][1:] == [empty, empty]


def test_passes_are_encoded_apart_and_joined(sdxl: TextParts) -> None:
    family = models.get("sdxl")
    caption = "cat " * 70 + "dog " * 100
    ids = family.tokenize([caption, "a"], 225)
    with torch.no_grad():
        cond = family.encode_text(sdxl, ids)
        rows = text.passes(ids[0], tokens.END)
        alone = [sdxl["text_encoder"](rows[:, number], output_hidden_states=True).hidden_states[-2] for number in range(3)]
        expected = torch.cat([alone[0][:, :1], *(states[:, 1:-1] for states in alone), alone[2][:, -1:]], dim=1)
        first = text.passes(ids[1], 0)[:, 0]
        pooled = sdxl["text_encoder_2"](first).text_embeds
    assert cond.hidden.shape == (2, 227, 96)
    assert torch.allclose(cond.hidden[..., :32], expected, atol=1e-6)
    assert cond.pooled is not None
    assert torch.allclose(cond.pooled, pooled, atol=1e-6)


@pytest.mark.parametrize("clip_skip", [0, 3, -1])
def test_a_clip_skip_beyond_the_layers_is_refused(clip_skip: int, sd1: TextParts) -> None:
    with pytest.raises(UserError, match="outside 1 to 2"):
        models.get("sd1").encode_text(sd1, models.get("sd1").tokenize(["a"]), clip_skip)


def test_layers_beyond_the_wanted_one_are_not_run(sd1: TextParts) -> None:
    ran = []
    hook = sd1["text_encoder"].get_submodule("encoder.layers.1").register_forward_hook(lambda *_: ran.append(1))
    models.get("sd1").encode_text(sd1, models.get("sd1").tokenize(["a"]), 2)
    hook.remove()
    assert not ran


def test_gradients_reach_the_encoders_also_under_checkpointing(sdxl: TextParts) -> None:
    family = models.get("sdxl")
    ids = family.tokenize(["a cat"])
    found = []
    for checkpointing in (False, True):
        for encoder in sdxl.values():
            encoder.train().requires_grad_(True)
            encoder.gradient_checkpointing_enable() if checkpointing else encoder.gradient_checkpointing_disable()
        cond = family.encode_text(sdxl, ids)
        assert cond.pooled is not None
        (cond.hidden.square().mean() + cond.pooled.square().mean()).backward()
        found.append([encoder.get_parameter(name).grad for encoder, name in zip(sdxl.values(), _FIRST, strict=True)])
        for encoder in sdxl.values():
            encoder.eval().requires_grad_(False).zero_grad(set_to_none=True)
            encoder.gradient_checkpointing_disable()
    for plain, saved in zip(*found, strict=True):
        assert plain is not None
        assert saved is not None
        assert torch.allclose(plain, saved)


_FIRST = ("encoder.layers.0.mlp.fc1.weight", "text_model.encoder.layers.0.mlp.fc1.weight")


def test_pooling_finds_the_end_token_by_its_id(sdxl: TextParts) -> None:
    """Not by the largest id: tokens added after the vocabulary have larger ones."""
    encoder = networks.filled(networks.build(ClipSpec(32, 1, 1, 64, "gelu", 32, vocabulary=49410)), _random(49410))
    ids = torch.tensor([[49406, 49409, 320, 49407] + [0] * 73])
    _, pooled = text.penultimate_and_pooled(encoder, ids)
    _, moved = text.penultimate_and_pooled(encoder, torch.tensor([[49406, 49409, 321, 49407] + [0] * 73]))
    assert not torch.allclose(pooled, moved)  # the word after the added token matters: pooling happened behind it


def _random(vocabulary: int) -> dict[str, Tensor]:
    from engine.models import blueprint

    generator = torch.Generator().manual_seed(0)
    shapes = blueprint.tensors(ClipSpec(32, 1, 1, 64, "gelu", 32, vocabulary=vocabulary))
    return {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}


def open_clip_forward(own: dict[str, Tensor], ids: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """open_clip's text tower written out: pre-norm blocks, joined projections, `pooled @ text_projection`. -> penultimate, pooled."""
    layers = 1 + max(int(name.split(".")[2]) for name in own if name.startswith("transformer.resblocks."))
    states = own["token_embedding.weight"][ids] + own["positional_embedding"]
    mask = torch.full((77, 77), -math.inf).triu(1)
    before = states
    for index in range(layers):
        block = {name.removeprefix(f"transformer.resblocks.{index}."): value for name, value in own.items() if f".{index}." in name}
        before, width = states, states.shape[-1]
        normed = nn.functional.layer_norm(states, (width,), block["ln_1.weight"], block["ln_1.bias"])
        states = states + nn.functional.multi_head_attention_forward(
            normed.transpose(0, 1), normed.transpose(0, 1), normed.transpose(0, 1), width, heads, block["attn.in_proj_weight"],
            block["attn.in_proj_bias"], None, None, False, 0.0, block["attn.out_proj.weight"], block["attn.out_proj.bias"],
            need_weights=False, attn_mask=mask,
        )[0].transpose(0, 1)  # fmt: skip
        normed = nn.functional.layer_norm(states, (width,), block["ln_2.weight"], block["ln_2.bias"])
        inner = nn.functional.gelu(normed @ block["mlp.c_fc.weight"].T + block["mlp.c_fc.bias"])
        states = states + inner @ block["mlp.c_proj.weight"].T + block["mlp.c_proj.bias"]
    final = nn.functional.layer_norm(states, states.shape[-1:], own["ln_final.weight"], own["ln_final.bias"])
    return before, final[torch.arange(len(ids)), (ids == 49407).int().argmax(-1)] @ own["text_projection"]


def test_trap_9_the_text_projection_is_transposed(micro_sdxl: Path, sdxl: TextParts) -> None:
    """The pooled output is open_clip's `pooled @ text_projection`, computed here from the file's own tensors."""
    from safetensors.torch import load_file

    prefix = "conditioner.embedders.1.model."
    own = {name.removeprefix(prefix): value.float() for name, value in load_file(micro_sdxl).items() if name.startswith(prefix)}
    ids = models.get("sdxl").tokenize(CAPTIONS)
    with torch.no_grad():
        hidden, pooled = text.penultimate_and_pooled(sdxl["text_encoder_2"], ids[1])
        expected_hidden, expected = open_clip_forward(own, ids[1], heads=1)
        wrong = open_clip_forward({**own, "text_projection": own["text_projection"].T}, ids[1], heads=1)[1]
    assert torch.allclose(hidden, expected_hidden, atol=1e-4)
    assert torch.allclose(pooled, expected, atol=1e-4)
    assert not torch.allclose(pooled, wrong, atol=1e-1)
    written = weights.original("open_clip", prefix, networks.tensors(sdxl["text_encoder_2"]))
    assert torch.equal(written[f"{prefix}text_projection"], own["text_projection"])
