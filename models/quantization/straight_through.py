"""The straight-through estimator: a hard decision in the forward pass, a soft gradient in the backward pass.

A codec has to send integers, but rounding has a derivative of zero almost everywhere: no gradient would reach the
networks in front of it. The straight-through estimator (Bengio, Leonard, Courville 2013) rounds in the forward pass
and takes the derivative of something smooth in the backward pass. For rounding, that is the identity::

    y_hat = y + (round(y) - y).detach()        # forward: round(y)        backward: d y_hat / d y = 1

The gradient is biased. It is the exact gradient of no function: it tells the encoder how the loss changes with
``y_hat`` and not with ``y``, and ignores where the next integer begins. It has little variance, and it points the right
way on average as long as a rounding error (at most half a step) is small beside the scale on which the loss bends.

Functions in this file, by what the forward pass gives and which gradient the backward pass takes:

====================  ==========================================  ==================================================
function              forward                                     gradient
====================  ==========================================  ==================================================
``ste_round``         nearest integer                             of the identity (biased)
``quantize_sign``     -1 or +1                                    of the identity (biased)
``quantize_ternary``  -1, 0 or +1                                 of the identity (biased)
``ste_argmax``        one-hot vector of the largest logit         of the softmax (biased)
``soft_round``        a smooth staircase, not yet integers        its own (exact, but the decoder will see integers)
``add_noise``         the value plus uniform noise                its own (exact, but the decoder will see integers)
====================  ==========================================  ==================================================

The ternary, sign and argmax forms are for experiments; no recipe uses them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    """``soft + (hard - soft).detach()`` without its rounding errors: the forward pass gives ``hard`` to the last bit.

    The integer networks depend on that: a sum of floats is not always the integer that it should be.
    """

    @staticmethod
    def forward(_context, _soft: Tensor, hard: Tensor) -> Tensor:
        return hard.view_as(hard)  # autograd needs an output that is not the input itself

    @staticmethod
    def backward(_context, gradient: Tensor):
        return gradient, None


def straight_through(soft: Tensor, hard: Tensor) -> Tensor:
    """``hard`` in the forward pass, the gradient of ``soft`` in the backward pass; both of one shape."""
    return _StraightThrough.apply(soft, hard)


def ste_round(x: Tensor) -> Tensor:
    """The nearest integer, halves to even. Gradient: the identity."""
    return straight_through(x, torch.round(x))


def quantize_sign(x: Tensor) -> Tensor:
    """Binary values: -1 below zero, +1 from zero on. Gradient: the identity."""
    return straight_through(x, torch.where(x < 0, -1.0, 1.0).to(x.dtype))


def quantize_ternary(x: Tensor, threshold: float = 0.5) -> Tensor:
    """Ternary values: 0 where ``|x| <= threshold``, else the sign, -1 or +1. Gradient: the identity."""
    return straight_through(x, torch.sign(x) * (x.abs() > threshold).to(x.dtype))


def ste_argmax(logits: Tensor, dim: int = -1) -> Tensor:
    """A one-hot vector along ``dim`` for the largest logit. Gradient: that of the softmax over ``dim``."""
    soft = logits.softmax(dim)
    hard = torch.zeros_like(soft).scatter(dim, logits.argmax(dim, keepdim=True), 1.0)
    return straight_through(soft, hard)


def soft_round(x: Tensor, alpha: float) -> Tensor:
    """A smooth staircase through all integers and all halves (Agustsson and Theis 2020). Gradient: its own.

    ``alpha`` > 0 is the sharpness: the staircase is nearly the identity for ``alpha`` near 0, and nearly ``round`` for
    a large ``alpha``.
    """
    floor = torch.floor(x)
    offset = x - floor - 0.5
    return floor + 0.5 + torch.tanh(alpha * offset) / (2 * math.tanh(alpha / 2))


def add_noise(x: Tensor) -> Tensor:
    """``x`` plus noise, uniform in [-0.5, 0.5): as far from ``x`` as rounding goes. Gradient: the identity, exact.

    For a smooth density the noisy values have the entropy of the rounded ones (Balle, Laparra, Simoncelli 2017).
    """
    return x + (torch.rand_like(x) - 0.5)
