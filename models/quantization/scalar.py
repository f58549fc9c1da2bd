"""Quantisation that gradients pass through: one straight-through primitive, and its alternatives.

Every mode answers the same question. Given a latent ``y`` and its predicted ``mean``, which values does
the synthesis see, and which values is the rate estimated on? They differ in how they make up for a
rounding whose true gradient is zero almost everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from codec_models.quantization.straight_through import soft_round, ste_round, uniform_noise_like

SCALAR_MODES = ("mixed", "ste", "noise", "soft_to_hard")


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
