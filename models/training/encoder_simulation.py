"""What encoders make of latents at the default effort, as a training step sees it.

There latents are moved by their slopes (``codec.moves``), and signs hide in the parities of symbols, some of which
are one more or less for it (``codec.hidden_signs``). Networks that have seen such latents answer them better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from codec_models.networks.entropy import ScaleLikelihood, scatter_step
from codec_models.quantization.scalar import Quantized
from torch import Tensor
from torch.nn import functional

from codec.encode.hide_signs import CURVATURE as HIDDEN_CURVATURE
from codec.encode.hide_signs import RATE_WEIGHTS
from codec.encode.rdoq import (
    AIM_CURVATURE,
    CELL_MARGIN,
    CHANGED_SHARE,
    CURVATURE,
    GRADIENT_SHARE,
    RATE_WEIGHT,
    SINGLE_STEP_SCALE,
)
from codec.entropy.constants import SCALE_LEVELS, STEPS
from codec.entropy.hidden_signs import MIN_NONZERO_FREQUENCY
from codec.entropy.range_coder import TOTAL
from codec.geometry import CELL

LARGEST = 255
"""Bits are looked up of symbols up to this size; larger ones are taken to cost as much."""
TEMPERATURES = (1.1, 0.048, 1.4, 2.15)
"""Bits: of symbols that would cost c to move, hiding moves the share 1 / (1 + exp(c / t)), by measurement. t is the
first at scale index 0 and rises by the second with each, but within the last two."""
SIGNED_SHARE = 0.77
"""Of the symbols that need not send a sign: others are zero, and have none. 0.72 to 0.81, from low to high rates."""


class EncoderSimulation(NamedTuple):
    """How the latents of a batch are refined."""

    share: Tensor  # (B, 1, 1, 1): 1 for pictures that are, 0 for those that are not
    weight: Tensor  # (B, 1, 1, 1): lambda, in bits for each unit of squared error of a colour of a pixel
    bits: Tensor  # (SCALE_LEVELS, LARGEST + 1): what magnitudes of symbols cost
    capacities: Tensor  # (SCALE_LEVELS,): the bits of signs that a symbol carries, see ``codec.hidden_signs``
    temperatures: Tensor  # (SCALE_LEVELS,): see ``TEMPERATURES``

    @classmethod
    def drawn(cls, share: float, error_weight: Tensor, likelihood: ScaleLikelihood) -> EncoderSimulation:
        """For a batch of which a ``share`` is refined.

        Args:
            error_weight: (B,) bits for each unit of a pixel's mean squared error.
            likelihood: says what symbols cost.
        """
        drawn = torch.rand_like(error_weight) < share
        like = {"device": error_weight.device, "dtype": torch.float32}
        sizes = torch.arange(LARGEST + 1, **like).repeat(SCALE_LEVELS, 1)
        scale_index = torch.arange(SCALE_LEVELS, **like).unsqueeze(1).expand_as(sizes).contiguous()
        with torch.no_grad():
            bits = -torch.log2(likelihood.forward(sizes, scale_index))  # too little to compile for
        chance = 1 - torch.exp2(-bits[:, 0])
        capacities = torch.where(chance < MIN_NONZERO_FREQUENCY / TOTAL, 0, 7 * chance / (10 + 12 * chance))
        start, rise, least, most = TEMPERATURES
        temperatures = (start + rise * torch.arange(SCALE_LEVELS, **like)).clamp(least, most)
        weight = error_weight.reshape(-1, 1, 1, 1) / 3
        return cls(drawn.float().reshape(-1, 1, 1, 1), weight, bits, capacities, temperatures)

    def bits_of(self, symbols: Tensor, scale_index: Tensor) -> Tensor:
        """Bits of ``symbols`` with as many scale indices, both whole numbers."""
        return self.bits.take(scale_index.long() * (LARGEST + 1) + symbols.abs().clamp(max=LARGEST).long())

    def error(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """The weighted squared error of each cell, (B, 1, h, w), for pictures (B, 3, 16h, 16w)."""
        squares = (self.weight * (x_hat - x).square()).sum(1, keepdim=True)
        return CELL**2 * functional.avg_pool2d(squares, CELL)

    def moves(
        self, y: Tensor, decoded: Tensor, symbols: Tensor, scale_index: Tensor, slope: Tensor, error: Tensor
    ) -> Tensor:
        """What is to be added to ``y`` (B, M, h, w): see ``codec.moves``, whose ``moved`` and ``aimed`` these are.

        Args:
            decoded, symbols, scale_index: what coding ``y`` gives.
            slope: bits a step that the ``error`` (B, 1, h, w) of the cells rises.
        """
        stiffness = (slope.square().sum(1, keepdim=True) / (2 * CURVATURE * error.clamp(min=1))).clamp(min=1)
        curve = CURVATURE / (2 * SINGLE_STEP_SCALE) * stiffness
        stay, up, down = (RATE_WEIGHT * self.bits_of(symbols + move, scale_index) for move in (0, 1, -1))
        up, down = curve + slope + up - stay, curve - slope + down - stay
        is_moved = (torch.minimum(up, down) < 0) & (torch.rand_like(up) < CHANGED_SHARE)
        wanted = decoded + is_moved * _towards(up, down)
        least_error = decoded - (slope / AIM_CURVATURE).clamp(-1, 1)
        aims = torch.clamp(y + GRADIENT_SHARE * (least_error - y), wanted - CELL_MARGIN, wanted + CELL_MARGIN)
        return self.share * (aims - y)

    def hiding(self, quantize: Callable[..., Quantized], *, training: bool) -> Callable[..., Quantized]:
        """``quantize(y, mean, scale_index)``, followed by what hiding signs does to symbols.

        In ``training`` the synthesis alone sees that: what rates are estimated on has noise already.
        """

        def quantize_and_hide(y: Tensor, mean: Tensor, scale_index: Tensor) -> Quantized:
            found = quantize(y, mean, scale_index)
            with torch.no_grad():
                moves = self._hidden_moves(y - mean, scale_index.round())
            coded = found.coded if training else found.coded + moves
            return found._replace(values=found.values + moves, coded=coded)

        return quantize_and_hide

    def _hidden_moves(self, residual: Tensor, scale_index: Tensor) -> Tensor:
        """By how much hiding signs moves the symbols of ``residual``: -1, 0 or 1."""
        symbols = residual.round()
        slope = HIDDEN_CURVATURE * (symbols - residual)
        of_zero, of_one, of_more = RATE_WEIGHTS.tolist()
        weight = torch.where(symbols == 0, of_zero, torch.where(symbols.abs() == 1, of_one, of_more))
        stay, up, down = (weight * self.bits_of(symbols + move, scale_index) for move in (0, 1, -1))
        up, down = (HIDDEN_CURVATURE / 2 + rise for rise in (slope + up - stay, down - slope - stay))
        level = scale_index.long()
        cost = torch.minimum(up, down).clamp(min=0)
        is_moved = torch.rand_like(cost) < torch.sigmoid(-cost / self.temperatures.take(level))
        is_carrier = self.capacities.take(level) > 0
        return self.share * (is_moved & is_carrier) * _towards(up, down)

    def saved(self, scale_index: Tensor) -> Tensor:
        """The bits of signs that need not be sent for symbols of these scale indices, and their gradient."""
        level = scale_index.detach().round().long()
        saved = SIGNED_SHARE * self.capacities
        rise = functional.pad((saved[2:] - saved[:-2]) / 2, (1, 1))
        return self.share * (saved.take(level) + rise.take(level) * (scale_index - level))


def _towards(up: Tensor, down: Tensor) -> Tensor:
    """1 where ``up`` costs less than ``down``, else -1."""
    return torch.where(up < down, 1.0, -1.0)


def in_place(coded: Tensor, y: Tensor) -> Tensor:
    """What is ``coded`` (B, STEPS * M, h/2, w/2) of latents ``y``, in their places: (B, M, h, w)."""
    return sum(scatter_step(part, y, step) for step, part in enumerate(coded.chunk(STEPS, dim=1)))
