"""Counting live bytes on fake tensors: the sums are right, and what is answered from memory is what torch would have answered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, torch
from torch._subclasses.fake_tensor import FakeTensorMode
from tests.cuda import fake, pretended
from tests.cuda.known import Known
from tests.cuda.live import Live

class Forgetful(Known):
    def ask(self, func, args, kwargs):
        return func(*args, **kwargs)

pretended.install(pretended.Model((8, 6)))

def peaks(kind):
    known = kind(FakeTensorMode(allow_non_fake_inputs=True))
    live = Live(known)
    found = []
    with fake.stand_ins(fake.Card(), live), known.mode, live, torch.device("cuda"):
        layers = [torch.nn.Conv2d(4, 64, 3), torch.nn.GroupNorm(8, 64), torch.nn.SiLU(), torch.nn.Flatten(2), torch.nn.Linear(900, 64)]
        network = torch.nn.Sequential(*layers)
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        for round in range(3):
            live.begin()
            rows = network(torch.randn(2, 4, 32, 32)).unflatten(1, (4, 16))
            mixed = torch.nn.functional.scaled_dot_product_attention(rows, rows, rows)
            loss = (mixed.transpose(1, 2).reshape(2, -1).chunk(2, dim=1)[0] ** 2).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            shape = list(mixed.shape), list(mixed.stride()), str(mixed.dtype)
            del rows, mixed, loss
            found.append([live.peak.size, live.size, shape])
        weights = sum(-(-p.nbytes // 512) * 512 for p in network.parameters())
    return found, weights

print(json.dumps([peaks(Forgetful), peaks(Known)]))
"""


@pytest.mark.slow
def test_a_remembered_operation_takes_what_it_took_before() -> None:
    ran = subprocess.run([sys.executable, "-s", "-X", "utf8", "-c", PROGRAM], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr
    (slow, weights), (quick, _) = json.loads(ran.stdout)
    assert quick == slow
    assert slow[1] == slow[2]  # the second step has the optimizer's state, as all later ones have
    (first, after, _), (second, *_) = slow[0], slow[1]
    assert second - first == pytest.approx(2 * weights, abs=8192)
    assert after == pytest.approx(3 * weights, abs=16384)  # weights and two moments, and a counter of 512 bytes a tensor
