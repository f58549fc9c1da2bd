"""The straight-through estimator: a hard decision in the forward pass, the gradient of a soft one in the backward.

``y_hat = y + (round(y) - y).detach()`` (Bengio, Leonard, Courville 2013): the gradient of rounding, which is zero almost
everywhere, is replaced by that of the identity. It is biased, and it works; everything in this folder builds on it.
"""

from __future__ import annotations

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(_context, _soft: Tensor, hard: Tensor) -> Tensor:
        return hard.view_as(hard)  # itself would not count as a result

    @staticmethod
    def backward(_context, gradient: Tensor):
        return gradient, None


def straight_through(soft: Tensor, hard: Tensor) -> Tensor:
    """``hard`` in the forward pass, the gradient of ``soft`` in the backward pass (Bengio et al. 2013)."""
    return _StraightThrough.apply(soft, hard)


def ste_round(x: Tensor) -> Tensor:
    """Round to the nearest integer; the gradient is the identity (Bengio, Leonard, Courville 2013)."""
    return straight_through(x, torch.round(x))


def quantize_sign(x: Tensor) -> Tensor:
    """Binary latents: -1 below zero, +1 from zero on; the gradient is the identity."""
    return straight_through(x, torch.where(x < 0, -1.0, 1.0).to(x.dtype))


def quantize_ternary(x: Tensor, threshold: float = 0.5) -> Tensor:
    """Ternary latents: -1, 0 or +1, with 0 where ``|x| <= threshold``; the gradient is the identity."""
    return straight_through(x, torch.sign(x) * (x.abs() > threshold).to(x.dtype))


def ste_argmax(logits: Tensor, dim: int = -1) -> Tensor:
    """One-hot of the largest logit; the gradient is that of the softmax over ``dim``."""
    soft = logits.softmax(dim)
    hard = torch.zeros_like(soft).scatter(dim, logits.argmax(dim, keepdim=True), 1.0)
    return straight_through(soft, hard)


def soft_round(x: Tensor, alpha: float) -> Tensor:
    """A differentiable staircase (Agustsson and Theis, 2020).

    ``alpha`` near 0 gives the identity, a large ``alpha`` gives rounding.
    """
    floor = torch.floor(x)
    offset = x - floor - 0.5
    alpha_t = torch.tensor(float(alpha), dtype=x.dtype, device=x.device)
    return floor + 0.5 + torch.tanh(alpha_t * offset) / (2 * torch.tanh(alpha_t / 2))


def uniform_noise_like(x: Tensor) -> Tensor:
    """Noise drawn uniformly from [-0.5, 0.5)."""
    return torch.rand_like(x) - 0.5
