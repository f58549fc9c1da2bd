"""Encode time buys bits: the symbols of one picture, chosen by descent through the fixed decoder.

The analysis transform gives each picture the latents that were best on average. Here rate and distortion of the
one picture are minimised over its integer symbols: rate-distortion optimised quantisation (Ramchandran, Vetterli
1994) with the distortion of the synthesis transform, followed by its gradient. The file format and the decoder do
not change.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from codec.engine import Engine
from codec.errors import CodecError, FormatError
from codec.format import MAX_QUALITY
from codec.latents import UNITS, Blocks, hyper_latents, symbols_of, walk
from codec.model_file import GRADIENT, Model
from codec.post_filter import PostFilter
from codec.tables import HYPER_MAX
from codec.tiles import CELL

EFFORTS = {1: 0, 2: 1, **{effort: 2 ** (effort - 1) for effort in range(3, 10)}}
"""Iterations for each effort."""
DEFAULT_EFFORT = 2
CURVATURE = 30.0
"""Bits: the second derivative of lambda * squared error by a latent in quantisation steps that moves are first
taken to have. Training makes it about the same for all latents at all qualities."""
LONGER, SHORTER = 1.07, 0.8
"""The reach of moves, by which that curvature is divided, after an iteration that gained, and after one that did
not: many moves at once add up where they overlap."""
LEAST_REACH, NEW_REACH = 0.8, 1.5
"""Below the first nearly nothing moves any more: moves go on with the second, which leads out of such places."""
ASTRAY = 1.02
"""Moves go on from what costs less than this many times the least so far, and from that otherwise."""
REACH_ALONE = 0.8
"""The reach of a single iteration, whose moves nothing makes up for."""
MOVED_SHARE = 0.8
"""Of the moves that would gain, this share, drawn at random, is made at once: neighbours make up for each other."""
RATE_WEIGHT = 1.5
"""A bit less in a symbol saves more than that bit: later predictions expect less."""
CREDIBLE = 0.5
"""A single iteration is made without looking at what it gave, unless it promises this share of the bits: photographs
promise up to 0.2, pictures like none that the model has seen several times as much, and keep nothing of it."""
SLOPE_SHARE, APART = 0.35, 26.0
"""Where in its cell a latent is aimed: so far towards what its slope says, at a curvature of so many bits, and else at
what the analysis gave. Slopes have the errors of all other latents in them, which hiding signs changes again."""
CELL_SHARE = 0.45
"""Latents are left where they were, but within this of the value that is to be coded, of the 0.5 that would do."""
_AT_ONCE = threading.BoundedSemaphore(6)
"""Gradients computed at a time: a block of 768x768 pixels takes 250 MB. Coding keeps some ten more threads busy."""
_MOVES = np.array([[-1], [0], [1]], np.int32)


class _Coded(NamedTuple):
    """What coding a block's latents gives."""

    y: np.ndarray  # (M, h, w): what was to be coded, in quantisation steps
    decoded: np.ndarray  # as y; zero outside the tiles
    symbols: np.ndarray  # as y: integers
    scale_index: np.ndarray  # as y: integers
    x_hat: np.ndarray  # (3, 16h, 16w): what the synthesis makes of it, without the block's neighbours
    filtered: np.ndarray  # as x_hat: what the post-filter makes of that
    slope: np.ndarray  # as y: bits a step that lambda * squared error rises
    hyper_bits: float


@dataclass
class Refiner:
    """Refines latents of ``model`` at ``quality`` (in hundredths) in so many ``iterations``.

    ``weight`` is lambda, in bits for each unit of squared error of a colour of a pixel, in [0, 1].
    """

    engine: Engine
    model: Model
    quality: int
    iterations: int

    def __post_init__(self) -> None:
        self.weight = self.model.error_weight(self.quality / MAX_QUALITY) / 3

    @property
    def rounds(self) -> list[int]:
        """Iterations for each round of refining a picture: for the second, the first has shown its post-filter."""
        has_second = self.iterations > 1 and self.model.post_filters is not None
        return [1, self.iterations - 1] if has_second else [self.iterations]

    def refine(
        self,
        pixels: np.ndarray,
        y: np.ndarray,
        tiles: list[tuple[slice, slice]],
        iterations: int,
        post_filter: PostFilter | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Latents (M, h, w) float that code a block at less rate and distortion than ``y`` does, or ``y``.

        Also x_hat (3, 16h, 16w), about what the synthesis will make of them.

        Args:
            pixels: the block's, uint8 (3, H, W); what lies beyond them, up to (16h, 16w), does not count.
            y: (M, h, w) float, in quantisation steps.
            tiles: rows and columns of ``y`` that are coded, each tile on its own.
            post_filter: what decoders are taken to use.
        """
        _, height, width = pixels.shape
        beyond = [(0, CELL * cells - side) for cells, side in zip(y.shape[1:], (height, width), strict=True)]
        x = np.pad(pixels.astype(np.float32) / 255, ((0, 0), *beyond))
        weight = np.pad(np.full((1, height, width), self.weight, np.float32), ((0, 0), *beyond))
        rng = np.random.default_rng(0)
        best = self._code(x, weight, y, tiles, post_filter)
        reach = 1.0
        if self.iterations == 1:  # to make sure would take as long again
            wanted, promise = self._moved(best, REACH_ALONE, rng)
            if promise < CREDIBLE:
                return _aimed(best, wanted), best.x_hat
        current, cost = best, self._cost(best, x, weight)
        least = cost
        for _ in range(iterations):
            # The filter changes little and slowly: what it adds is taken from what the synthesis should make.
            target = x - (current.filtered - current.x_hat)
            wanted, _ = self._moved(current, reach, rng)
            found = self._code(target, weight, _within(current.y, wanted), tiles, post_filter)
            before, cost = cost, self._cost(found, x, weight)
            reach *= LONGER if cost < before else SHORTER
            reach = reach if reach >= LEAST_REACH else NEW_REACH
            if cost < least:
                best, least = found, cost
            current, cost = (found, cost) if cost < ASTRAY * least else (best, least)
        return _aimed(best, best.decoded), best.x_hat

    def _cost(self, coded: _Coded, x: np.ndarray, weight: np.ndarray) -> float:
        """Bits, and lambda * squared error."""
        bits = self.model.bits_of(coded.symbols, coded.scale_index)
        return coded.hyper_bits + float(bits.sum()) + float((weight * np.square(coded.filtered - x)).sum())

    def _moved(self, coded: _Coded, reach: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Decoded latents, one more or less where that seems to gain; and how much, as a share of bits."""
        curve = CURVATURE / (2 * reach)
        # Elsewhere no move can gain: a symbol of zero is the cheapest.
        places = np.nonzero((coded.symbols != 0) | (np.abs(coded.slope) > curve))
        symbols, scale_index, slope = (a[places] for a in (coded.symbols, coded.scale_index, coded.slope))
        bits = self.model.bits_of(symbols + _MOVES, scale_index)
        changes = slope * _MOVES + curve * _MOVES**2 + RATE_WEIGHT * bits
        moves = _MOVES[changes.argmin(axis=0), 0]
        moves *= rng.random(moves.shape) < MOVED_SHARE
        wanted = coded.decoded.copy()
        wanted[places] += moves
        promise = float((changes[1] - changes.min(axis=0)).sum() / max(1.0, bits[1].sum()))
        return wanted, promise

    def _code(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        y: np.ndarray,
        tiles: list[tuple[slice, slice]],
        post_filter: PostFilter | None,
    ) -> _Coded:
        decoded = np.zeros_like(y)
        symbols, scale_index = np.zeros(y.shape, np.int32), np.zeros(y.shape, np.int64)
        hyper_bits = 0.0
        for rows, columns in tiles:
            part = np.s_[:, rows, columns]
            decoded[part], bits = self._code_tile(y[part], symbols[part], scale_index[part])
            hyper_bits += bits
        share = np.array([self.quality / MAX_QUALITY], np.float32)
        arrays = {"y_hat": decoded, "x": x, "weight": weight}
        with _AT_ONCE:
            found = self.engine.run(GRADIENT, quality=share, **{name: array[None] for name, array in arrays.items()})
        if [array.shape for array in found] != [(1, *x.shape), (1, *y.shape)] or not np.isfinite(found[1]).all():
            raise FormatError("the model's gradient does not fit its synthesis")
        x_hat, slope = (array[0] for array in found)
        filtered = x_hat if post_filter is None else post_filter(x_hat)
        return _Coded(y, decoded, symbols, scale_index, x_hat, filtered, slope, hyper_bits)

    def _code_tile(self, y: np.ndarray, symbols: np.ndarray, scale_index: np.ndarray) -> tuple[np.ndarray, float]:
        """A tile's decoded latents in steps, and the bits of its hyper-latents; fills the arrays of the rest."""

        def residuals(means: Blocks, indices: Blocks, positions: list) -> Blocks:
            for p, mean, index in zip(positions, means, indices, strict=True):
                symbols[p], scale_index[p] = symbols_of(y[p] * UNITS - mean), index
            return [symbols[p] * np.float32(UNITS) for p in positions]

        z_hat = hyper_latents(self.engine, y)
        decoded = walk(self.engine, z_hat, self.quality, y.shape, residuals) / UNITS
        channels = np.arange(len(z_hat))[:, None, None]
        return decoded, float(self.model.hyper_bits[channels, z_hat.astype(np.int64) + HYPER_MAX].sum())


def _within(y: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """``y``, as near as it takes for symbols to be those ``wanted``."""
    return y.clip(wanted - CELL_SHARE, wanted + CELL_SHARE)


def _aimed(coded: _Coded, wanted: np.ndarray) -> np.ndarray:
    """What is coded as ``wanted``, and says where latents could as well be one more or less: see ``hidden_signs``."""
    least_error = coded.decoded - (coded.slope / APART).clip(-1, 1)
    return _within(coded.y + SLOPE_SHARE * (least_error - coded.y), wanted)


def refiner_for(engine: Engine, model: Model, quality: int, effort: int | None) -> Refiner | None:
    """What refines with an effort of ``EFFORTS``, None where it leaves latents as they are.

    Without an effort, ``DEFAULT_EFFORT`` where the model's latents can be refined, and no refining elsewhere.

    Raises:
        CodecError: when the model's latents cannot be refined, or there is no such effort.
    """
    has_gradient = GRADIENT in model.graphs
    if effort is None:
        effort = DEFAULT_EFFORT if has_gradient else min(EFFORTS)
    if effort not in EFFORTS:
        raise FormatError(f"effort {effort} is not one of {min(EFFORTS)} to {max(EFFORTS)}")
    if EFFORTS[effort] and not has_gradient:
        raise CodecError(f"the model file holds no gradient, which an effort above {min(EFFORTS)} needs")
    return Refiner(engine, model, quality, EFFORTS[effort]) if EFFORTS[effort] else None
