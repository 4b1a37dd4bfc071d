"""Backward passes over tensors that say `cuda`, on a torch without CUDA: all that the instruments ask of guard.py."""

from __future__ import annotations

import sys

from tests.cuda import guard


def main() -> int:
    """Run both kinds of backward pass. The last line on stderr says what torch changed, if it did."""
    import torch

    try:
        guard.ensure()
        _fake()
        _pretended()
    except (guard.Changed, RuntimeError, TypeError, AttributeError, AssertionError) as error:
        print(f"torch {torch.__version__} changed what tests/cuda/guard.py leans on: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print("both backward passes ran")
    return 0


def _fake() -> None:
    """FakeTensorMode: shapes alone."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        weight = torch.ones(4, 4, device="cuda", requires_grad=True)
        torch.nn.functional.conv1d(weight[None], weight[:, :, None]).sum().backward()
        grad = weight.grad
    if grad is None or grad.device.type != "cuda" or grad.shape != (4, 4):
        raise AssertionError(f"a fake backward pass gave {grad}")


def _pretended() -> None:
    """The pretended card: values."""
    import torch

    from tests.cuda import pretended

    pretended.install(pretended.Model())
    with pretended.Mode():
        weight = torch.full((2, 2), 3.0, device="cuda", requires_grad=True)
        (weight * weight).sum().backward()
    grad = weight.grad
    if not isinstance(grad, pretended.OnCard) or grad.values.tolist() != [[6.0, 6.0], [6.0, 6.0]]:
        raise AssertionError(f"a pretended backward pass gave {grad}")


if __name__ == "__main__":
    sys.exit(main())
