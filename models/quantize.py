"""Quantisation that gradients pass through: one straight-through primitive, and its alternatives.

Every mode answers the same question. Given a latent ``y`` and its predicted ``mean``, which values does
the synthesis see, and which values is the rate estimated on? They differ in how they make up for a
rounding whose true gradient is zero almost everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from codec.tables import MEAN_SHIFT, VECTOR_CLASS_LEVELS, VECTOR_CLASSES
from models.vector_quantize import VectorQuantizer, straight_through

__all__ = ["MODES", "Quantized", "make_quantizer", "quantize_sign", "quantize_ternary", "ste_argmax", "ste_round"]


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


class Quantized(NamedTuple):
    """What a quantizer answers."""

    values: Tensor
    """What the context model and the synthesis see, same shape as the latent."""
    coded: Tensor
    """``y - mean`` as the rate is estimated on it, or, from quantizers that count their own, each element's bits."""
    loss: Tensor
    """A scalar for the optimiser (commitment); zero for scalar quantisation."""


class ScalarQuantizer(nn.Module):
    """Unit-step quantisation of ``y`` around its predicted mean, in one of four modes for training.

    - ``mixed``: the synthesis sees straight-through rounding, the rate sees additive uniform noise
      (Minnen and Singh 2020). The default.
    - ``ste``: both see straight-through rounding.
    - ``noise``: both see additive uniform noise (Balle, Laparra, Simoncelli 2017).
    - ``soft_to_hard``: the synthesis sees a staircase that sharpens as training goes on (Agustsson and
      Theis 2020), the rate sees noise.

    Outside training every mode rounds.
    """

    counts_bits = False

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in SCALAR_MODES:
            raise ValueError(f"quantisation mode {mode!r} is not one of {', '.join(SCALAR_MODES)}")
        self.mode = mode

    @property
    def follows_progress(self) -> bool:
        """Whether quantisation changes as training goes on."""
        return self.mode == "soft_to_hard"

    def forward(self, y: Tensor, mean: Tensor, _scale_index: Tensor, progress: float = 1.0) -> Quantized:
        """Quantise ``y`` around ``mean`` (same shapes); ``progress`` in [0, 1] is how far training has come."""
        residual = y - mean
        no_loss = y.new_zeros(())
        if not self.training or self.mode == "ste":
            rounded = ste_round(residual)
            return Quantized(mean + rounded, rounded, no_loss)
        noisy = residual + uniform_noise_like(residual)
        if self.mode == "noise":
            values = mean + noisy
        elif self.mode == "mixed":
            values = mean + ste_round(residual)
        else:
            values = mean + soft_round(residual, alpha=1.0 + 11.0 * progress)
        return Quantized(values, noisy, no_loss)


class ResidualVectorQuantizer(nn.Module):
    """The latent's residual ``y - mean``, cut along channels into short vectors, each sent as an index.

    A vector's class, under whose usage its index is coded, follows from its predicted scales. Outside
    training codewords are whole multiples of the latents' unit, as in the exported model.
    """

    counts_bits = True
    follows_progress = True

    def __init__(self, assignment: str, codewords: int = 256, dim: int = 4, rate_weight: float = 0.1) -> None:
        super().__init__()
        self.dim = dim
        self.codebook = VectorQuantizer(
            codewords, dim, classes=VECTOR_CLASSES, rate_weight=rate_weight, assignment=assignment
        )

    def train(self, mode: bool = True) -> ResidualVectorQuantizer:
        """Leaving training also rounds the codewords."""
        if self.training and not mode:
            self.codebook.codewords.mul_(2**MEAN_SHIFT).round_().mul_(2.0**-MEAN_SHIFT)
        return super().train(mode)

    def forward(self, y: Tensor, mean: Tensor, scale_index: Tensor, progress: float = 1.0) -> Quantized:
        """Quantise ``y`` (B, C, H, W), C a multiple of the codeword length, around ``mean``."""
        batch, channels, height, width = y.shape

        def vectors(x: Tensor) -> Tensor:  # (N, d)
            x = x.reshape(batch, channels // self.dim, self.dim, height, width).permute(0, 1, 3, 4, 2)
            return x.reshape(-1, self.dim)

        def back(x: Tensor) -> Tensor:
            x = x.reshape(batch, channels // self.dim, height, width, self.dim)
            return x.permute(0, 1, 4, 2, 3).reshape(y.shape)

        level = torch.floor(vectors(scale_index.detach()) + 0.5).sum(1) // (self.dim * VECTOR_CLASS_LEVELS)
        classes = level.long().clamp(0, VECTOR_CLASSES - 1)
        found = self.codebook(vectors(y - mean), classes, temperature=max(0.1, 1.0 - progress))
        bits = (found.bits / self.dim).unsqueeze(1).expand(-1, self.dim)
        return Quantized(mean + back(found.vectors), back(bits), found.loss)


SCALAR_MODES = ("mixed", "ste", "noise", "soft_to_hard")
MODES = (*SCALAR_MODES, "vq", "vq_gumbel")


def make_quantizer(mode: str) -> nn.Module:
    """The quantizer that a recipe names. Raises ValueError for a name that is not in ``MODES``."""
    if mode == "vq":
        return ResidualVectorQuantizer("nearest")
    if mode == "vq_gumbel":
        return ResidualVectorQuantizer("gumbel")
    return ScalarQuantizer(mode)
