"""Encode time buys bits: the symbols of one picture, chosen by descent through the fixed decoder.

The analysis transform gives each picture the latents that were best on average. Here rate and distortion of the
one picture are minimised over its integer symbols: rate-distortion optimised quantisation (Ramchandran, Vetterli
1994) with the distortion of the synthesis transform, followed by its gradient. The file format and the decoder do
not change.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codec.engine import Engine
from codec.format import MAX_QUALITY
from codec.latents import UNITS, Blocks, hyper_latents, symbols_of, walk
from codec.model_file import Model
from codec.range_coder import Table
from codec.tables import HYPER_MAX
from models.graph import TorchGraph
from models.optimize import flushed_denormals
from models.recipe import recipe_from_dict

EFFORTS = {effort: 2**effort for effort in range(2, 10)}
"""Iterations for each effort above 1: every step takes twice as long."""
CURVATURE = 22.5
"""Bits: the second derivative of lambda * squared error by a latent in quantisation steps that moves are first
taken to have. Training makes it about the same for all latents at all qualities."""
LONGER, SHORTER = 1.07, 0.8
"""The reach of moves, by which that curvature is divided, after an iteration that gained, and after one that did
not: many moves at once add up where they overlap."""
MOVED_SHARE = 0.6
"""Of the moves that would gain, this share, drawn at random, is made at once: neighbours make up for each other."""
RATE_WEIGHT = 1.3
"""A bit less in a symbol saves more than that bit: later predictions expect less."""
CELL = 0.45
"""Latents are left where they were, but within this of the value that is to be coded, of the 0.5 that would do."""
_LARGEST = 1024
"""Magnitudes above this are taken to cost what this does."""
_MOVES = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1)


class _Coded(NamedTuple):
    """What coding a block's latents gives."""

    y: Tensor  # (M, h, w): what was to be coded, in quantisation steps
    decoded: Tensor  # as y; zero outside the tiles
    symbols: Tensor  # as y: integers
    scale_index: Tensor  # as y: integers
    slope: Tensor  # as y: bits a step that lambda * squared error rises
    cost: float  # bits, and lambda * squared error


class Refiner:
    """Refines latents for one model, in so many ``iterations`` (see ``EFFORTS``).

    To be given to ``Codec.encode``. One block is refined at a time, on all cores.

    Raises:
        ValueError: when the model's synthesis holds operations that cannot be differentiated, or its metadata
            does not say how it was trained.
    """

    def __init__(self, model: Model, iterations: int) -> None:
        if not isinstance(model.metadata.get("recipe"), dict):
            raise ValueError("the model does not say how it was trained: its latents cannot be refined")
        if model.codebook is not None:
            raise ValueError("the latents of vector-quantised models cannot be refined")
        self.recipe = recipe_from_dict(model.metadata["recipe"])
        self.iterations = iterations
        self._engine = Engine(model, torch.get_num_threads())
        self._synthesis = TorchGraph(model.graphs["synthesis"])
        self._symbol_bits = _bits(model.scale_tables, _LARGEST)[:, _LARGEST:]
        self._hyper_bits = _bits(model.hyper_tables, HYPER_MAX)
        self._one_at_a_time = threading.Lock()

    def __call__(self, pixels: np.ndarray, y: np.ndarray, quality: int, tiles: list[tuple[slice, slice]]) -> np.ndarray:
        """Latents (M, h, w) float that code the block at less rate and distortion than ``y`` does, or ``y``.

        Args:
            pixels: the block's, uint8 (3, H, W); what lies beyond them, up to (16h, 16w), does not count.
            y: (M, h, w) float, in quantisation steps.
            quality: in hundredths.
            tiles: rows and columns of ``y`` that are coded, each tile on its own.
        """
        with self._one_at_a_time, flushed_denormals():
            x = torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255
            generator = torch.Generator().manual_seed(0)
            best = self._code(x, torch.from_numpy(np.ascontiguousarray(y, np.float32)), quality, tiles)
            reach = 1.0
            for _ in range(self.iterations):
                found = self._code(x, self._moved(best, reach, generator), quality, tiles)
                better = found.cost < best.cost
                reach *= LONGER if better else SHORTER
                best = found if better else best
            return best.y.numpy()

    def _moved(self, coded: _Coded, reach: float, generator: torch.Generator) -> Tensor:
        """Latents whose symbols are one more or less, where that seems to gain."""
        sizes = (coded.symbols + _MOVES).abs().clamp(max=_LARGEST).long()
        bits = self._symbol_bits[coded.scale_index.unsqueeze(0), sizes]  # (3, M, h, w)
        change = coded.slope * _MOVES + CURVATURE / (2 * reach) * _MOVES.square() + RATE_WEIGHT * bits
        move = change.argmin(0) - 1.0
        move = move * (torch.rand(move.shape, generator=generator) < MOVED_SHARE)
        wanted = coded.decoded + move
        return coded.y.clamp(wanted - CELL, wanted + CELL)

    def _code(self, x: Tensor, y: Tensor, quality: int, tiles: list[tuple[slice, slice]]) -> _Coded:
        decoded, symbols = torch.zeros_like(y), torch.zeros_like(y)
        scale_index = torch.zeros_like(y, dtype=torch.long)
        bits = 0.0
        for rows, columns in tiles:
            part = np.s_[:, rows, columns]
            decoded[part], symbols[part], scale_index[part], hyper_bits = self._code_tile(y[part].numpy(), quality)
            sizes = symbols[part].abs().clamp(max=_LARGEST).long()
            bits += hyper_bits + float(self._symbol_bits[scale_index[part], sizes].sum())
        error, slope = self._distortion(x, decoded, quality)
        return _Coded(y, decoded, symbols, scale_index, slope, bits + error)

    def _code_tile(self, y: np.ndarray, quality: int) -> tuple[Tensor, Tensor, Tensor, float]:
        """A tile's decoded latents in steps, its symbols and scale indices, and the bits of its hyper-latents."""
        symbols, scale_index = np.zeros(y.shape, np.float32), np.zeros(y.shape, np.int64)

        def residuals(means: Blocks, indices: Blocks, positions: list) -> Blocks:
            for p, mean, index in zip(positions, means, indices, strict=True):
                symbols[p], scale_index[p] = symbols_of(y[p] * UNITS - mean), index
            return [symbols[p] * UNITS for p in positions]

        z_hat = hyper_latents(self._engine, y)
        decoded = walk(self._engine, z_hat, quality, y.shape, residuals) / UNITS
        by_channel = torch.from_numpy(z_hat).flatten(1).long() + HYPER_MAX  # (N, h * w)
        hyper_bits = float(self._hyper_bits.gather(1, by_channel).sum())
        return *(torch.from_numpy(found) for found in (decoded, symbols, scale_index)), hyper_bits

    def _distortion(self, x: Tensor, decoded: Tensor, quality: int) -> tuple[float, Tensor]:
        """lambda * squared error of the pixels ``x`` (3, H, W), in bits, and its gradient by ``decoded``."""
        y_hat = decoded.unsqueeze(0).requires_grad_()
        share = quality / MAX_QUALITY
        x_hat = self._synthesis(y_hat=y_hat, quality=torch.tensor([share]))[0][0]
        error = (x_hat[:, : x.shape[1], : x.shape[2]] - x).square().sum() / 3
        error = error * self.recipe.distortion_weight(share) * 255**2
        (slope,) = torch.autograd.grad(error, y_hat)
        return float(error.detach()), slope.squeeze(0)


def _bits(tables: list[Table], largest: int) -> Tensor:
    """Bits (tables, 2 * largest + 1) of the values from ``-largest`` on under each table."""
    values = np.arange(-largest, largest + 1)
    return torch.from_numpy(np.stack([table.code_lengths(values) for table in tables])).float()
