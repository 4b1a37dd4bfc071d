"""Conditioning: emphasis on the states of tokens, and prompts of any length."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from generation_fakes import SHOT, Tiny
from torch import nn

from engine.generation.conditioning import encode, overlong, token_weights, weigh
from engine.generation.emphasis import emphasis


def encoders() -> dict[str, nn.Module]:
    torch.manual_seed(1)
    return {"text_encoder": nn.Embedding(49408, 6)}


def test_a_plain_prompt_takes_the_plain_path() -> None:
    family, nets = Tiny(), encoders()
    ids = family.tokenize(["dog (x)", "a cat"], 75)
    shot = dataclasses.replace(SHOT, negative=r"dog \(x\)")
    assert torch.equal(encode(family, nets, shot).hidden, family.encode_text(nets, ids).hidden)
    assert not encode(family, nets, shot).hidden.requires_grad


def test_emphasis_weighs_tokens_and_keeps_the_mean() -> None:
    family, nets = Tiny(), encoders()
    plain = encode(family, nets, SHOT)
    weighted = encode(family, nets, dataclasses.replace(SHOT, text="a (cat:1.5)"))
    assert torch.equal(weighted.hidden[0], plain.hidden[0])
    assert torch.allclose(weighted.hidden.mean((1, 2)), plain.hidden.mean((1, 2)), atol=1e-6)
    ratio = (weighted.hidden / plain.hidden)[1, :, 0]
    assert torch.allclose(ratio[2] / ratio[1], torch.tensor(1.5)) and torch.allclose(ratio[3:], ratio[0])
    assert weighted.pooled is not None and torch.equal(weighted.pooled, plain.pooled)  # type: ignore[arg-type]


def test_states_without_a_mean_are_not_blown_up() -> None:
    hidden = torch.tensor([[[1.0, -1.0], [1.0, -1.0 + 1e-6]]])
    assert torch.allclose(weigh(hidden, torch.tensor([[1.0, 2.0]])), hidden * torch.tensor([[1.0], [2.0]]))


def test_token_weights_follow_the_pieces() -> None:
    weights = token_weights(emphasis("a (photo of:1.5) [cat], (re:2)ality"), 75)
    assert weights.shape == (77,)
    assert weights[:9].tolist() == pytest.approx([1, 1, 1.5, 1.5, 0.9091, 1, 2, 1, 1])
    long = token_weights(emphasis("x " * 100 + "(y:2)"), 150)
    assert long.nonzero().numel() == 152 and (long == 2).nonzero().flatten().tolist() == [101]
    assert (token_weights(emphasis("x " * 100 + "(y:2)"), 75) == 1).all()


@pytest.mark.parametrize(("words", "positions"), [(75, 77), (76, 152), (151, 227), (400, 227)])
def test_long_prompts_take_as_many_chunks_as_they_need(words: int, positions: int) -> None:
    shot = dataclasses.replace(SHOT, text="x " * words)
    assert encode(Tiny(), encoders(), shot).hidden.shape == (2, positions, 6)
    assert ("400 tokens" in overlong(shot)) == (words == 400)
