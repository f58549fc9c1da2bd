"""Scalar quantisation of latents around their predicted means, in the modes that training can choose from.

A mode says which values the synthesis sees, and on which values the rate is estimated. In inference both are rounded
values. Rounding has no useful gradient, so modes replace it in training.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from codec_models.quantization.straight_through import add_noise, soft_round, ste_round

SCALAR_MODES = ("mixed", "ste", "noise", "soft_to_hard")
"""The modes of ``ScalarQuantizer``, whose docstring describes them."""
FIRST_SHARPNESS, LAST_SHARPNESS = 1.0, 12.0
"""``alpha`` of ``soft_round`` when training begins and ends (no unit)."""


class Quantized(NamedTuple):
    """The result of a quantizer, for latents of any shape, in quantisation steps."""

    values: Tensor
    """The decoded latents, which the context steps and the synthesis see. Shape of the latents."""
    coded: Tensor
    """The residuals ``y - mean`` that the rate is estimated on; with ``counts_bits``, bits instead. Same shape."""
    loss: Tensor
    """A scalar that is added to the training loss: the commitment loss of vectors, zero for scalars."""


class ScalarQuantizer(nn.Module):
    """Rounding of ``y - mean`` to integers, with one of four replacements in training.

    ================  ==================================  ==========================  ================================
    mode              values for the synthesis            residuals for the rate      source
    ================  ==================================  ==========================  ================================
    ``mixed``         straight-through rounding           uniform noise               Minnen and Singh 2020 (default)
    ``ste``           straight-through rounding           straight-through rounding   Theis et al. 2017
    ``noise``         uniform noise                       uniform noise               Balle et al. 2017
    ``soft_to_hard``  staircase, sharper with progress    uniform noise               Agustsson and Theis 2020
    ================  ==================================  ==========================  ================================

    In evaluation, every mode rounds. Raises ValueError for another mode.
    """

    counts_bits = False
    """Whether ``Quantized.coded`` holds bits. Here the rate comes from the entropy model."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in SCALAR_MODES:
            raise ValueError(f"quantisation mode {mode!r} is not one of {', '.join(SCALAR_MODES)}")
        self.mode = mode

    @property
    def follows_progress(self) -> bool:
        """Whether ``forward`` depends on ``progress``, which a recorded CUDA graph could not follow."""
        return self.mode == "soft_to_hard"

    def forward(self, y: Tensor, mean: Tensor, _scale_index: Tensor, progress: float = 1.0) -> Quantized:
        """Quantise latents ``y`` around ``mean`` of the same shape, in quantisation steps.

        ``progress`` in [0, 1] is the fraction of the training that is done.
        """
        residual = y - mean
        no_loss = y.new_zeros(())
        if not self.training or self.mode == "ste":
            rounded = ste_round(residual)
            return Quantized(mean + rounded, rounded, no_loss)
        noisy = add_noise(residual)
        if self.mode == "mixed":
            values = mean + ste_round(residual)
        elif self.mode == "noise":
            values = mean + noisy
        else:
            sharpness = FIRST_SHARPNESS + (LAST_SHARPNESS - FIRST_SHARPNESS) * progress
            values = mean + soft_round(residual, sharpness)
        return Quantized(values, noisy, no_loss)
