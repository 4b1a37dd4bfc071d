"""Teaches the text encoders the words, before any U-Net is trained. CLIP's had learned them before Stable Diffusion was trained.

Random encoders give nearly the same output for every caption, and the U-Net of SD learns to ignore it: colours came after some hundred
steps, places not even after thousands. So each encoder first learns to say enough for the picture to be guessed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine import seeds
from engine.models.family import Cond, Family
from recipes.micro_base.autoencoder import falling
from recipes.micro_base.dataset import Data
from recipes.micro_base.weights import uniform

STEPS = 800
BATCH = 128
RATE = 2e-3
WARMUP = 50  # steps
_HIDDEN = 256  # width of the guess's only layer


def teach(
    family: Family, encoders: Mapping[str, nn.Module], data: Data, seed: int, device: torch.device, say: Callable[[str], None]
) -> None:
    """Train the encoders, in place, to tell the latents of the picture from the mean of a caption's hidden states."""
    wanted = family.latent.scaled(data.mean).to(device)
    guess = _guess(_heard(family.encode_text(encoders, family.tokenize([""]).to(device))).shape[1], wanted[0].numel(), seed).to(device)
    parameters = [parameter for module in (*encoders.values(), guess) for parameter in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * falling(step, STEPS, WARMUP)
        rng = random.Random(seeds.derived(seed, "words", step))
        items = [rng.randrange(len(data.captions)) for _ in range(BATCH)]
        ids = family.tokenize([data.caption(item, rng) for item in items])
        heard = _heard(family.encode_text(encoders, ids.to(device)))
        loss = F.mse_loss(guess(heard), wanted[items].flatten(1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 100 == 0:
            say(f"words: step {step + 1} of {STEPS}, loss {loss.item():.4f}")


def _heard(cond: Cond) -> Tensor:
    """What attention that cannot look yet gets of captions, [B, D]: the mean hidden state, and the pooled vector if there is one."""
    mean = cond.hidden.mean(1)
    return mean if cond.pooled is None else torch.cat([mean, cond.pooled], 1)


def _guess(given: int, asked: int, seed: int) -> nn.Module:
    """A network with one hidden layer, which is thrown away afterwards."""
    network = nn.Sequential(nn.Linear(given, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, asked))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            first = uniform(f"words.{name}", tuple(parameter.shape), seed) / math.sqrt(parameter.shape[-1])
            parameter.copy_(first if name.endswith("weight") else torch.zeros_like(parameter))
    return network
