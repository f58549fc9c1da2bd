"""Encode time buys bits: the symbols of one picture, chosen by descent through the fixed decoder.

The analysis transform gives each picture the latents that were best on average. Here rate and distortion of the
one picture are minimised over its integer symbols: rate-distortion optimised quantisation (Ramchandran, Vetterli
1994) with the distortion of the synthesis transform, followed by its gradient. The file format and the decoder do
not change.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from codec.engine import Engine
from codec.errors import CodecError, FormatError
from codec.format import MAX_QUALITY
from codec.latents import UNITS, Blocks, LatentEncoder, Predicted, hyper_latents, symbols_of, walk
from codec.model_file import GRADIENT, Model
from codec.moves import REACH_ALONE, SLOPE_SHARE, Latents, aimed, moved, stiffness_of, within
from codec.post_filter import PostFilter
from codec.tables import HYPER_MAX, STEPS
from codec.tile_content import TileContent
from codec.tiles import CELL

EFFORTS = {1: 0, 2: 1, 3: 2, **{effort: 2 ** (effort - 1) for effort in range(4, 10)}}
"""Iterations for each effort."""
DEFAULT_EFFORT = 2
LONGER, SHORTER = 1.07, 0.8
"""The reach of moves, by which their curvature is divided, after an iteration that gained, and after one that did
not: many moves at once add up where they overlap."""
LEAST_REACH, NEW_REACH = 0.8, 1.5
"""Below the first nearly nothing moves any more: moves go on with the second, which leads out of such places."""
ASTRAY = 1.02
"""Moves go on from what costs less than this many times the least so far, and from that otherwise."""
CAUTION, MOST_CAUTION = 1.6, 8.0
"""A latent that moves back is taken to have so many times the curvature from then on, each time that it does, up to
the second (as the steps of Rprop; Riedmiller, Braun 1993): it moves back and forth with its neighbours."""
CREDIBLE = 0.5
"""A single iteration is made without looking at what it gave, unless it promises this share of the bits: photographs
promise up to 0.2, pictures like none that the model has seen several times as much, and keep nothing of it. The same
goes for a closed loop."""
FRESH_SLOPE_SHARE, FRESH_RATE_WEIGHT = 0.6, 2.0
"""In a closed loop, slopes hold errors of the steps before, which last: they get a larger share, and bits that hidden
signs move are weighed so much more, as the analysis has weighed less of what is aimed at."""
_AT_ONCE = threading.BoundedSemaphore(12)
"""Gradients computed at a time: a block of 512x512 pixels takes 120 MB."""


class Goal(NamedTuple):
    """What the latents (M, h, w) of a block, with those around it, are to become."""

    x: np.ndarray  # (3, 16h, 16w): what the synthesis should make of them, in [0, 1]
    weight: np.ndarray  # (1, 16h, 16w): bits for each unit of squared error of a colour; zero where none counts
    tiles: list[tuple[slice, slice]]  # rows and columns of the block's tiles, each of which is coded on its own


class Coded(NamedTuple):
    """What coding a block's latents gives."""

    latents: Latents
    hyper: list[np.ndarray]  # each tile's hyper-latents
    x_hat: np.ndarray  # (3, 16h, 16w): what the synthesis makes of them
    filtered: np.ndarray  # as x_hat: what the post-filter makes of that

    def through(self, post_filter: PostFilter | None) -> Coded:
        """With this post-filter, or none."""
        return self._replace(filtered=self.x_hat if post_filter is None else post_filter(self.x_hat))


class Refined(NamedTuple):
    """What refining a block's latents gives: what was coded at the least cost, and what to make of it."""

    coded: Coded
    wanted: np.ndarray  # (M, h, w): what decoders are to make of its latents


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
    def open_steps(self) -> int:
        """How many context steps are coded before the loop is closed: a gradient takes as long as an iteration."""
        return STEPS - 1 if self.iterations == 1 else 0

    @property
    def rounds(self) -> list[int]:
        """Iterations for each round of refining a picture: for the second, the first has shown its post-filter."""
        has_second = self.iterations > 1 and self.model.post_filters is not None
        return [1, self.iterations - 1] if has_second else [self.iterations]

    def refine(
        self,
        goal: Goal,
        y: np.ndarray,
        iterations: int,
        post_filter: PostFilter | None = None,
        coded: Coded | None = None,
    ) -> Refined:
        """Latents that code a block at less rate and distortion than ``y`` does, or ``y``.

        Args:
            goal: what they are to become.
            y: (M, h, w) float, in quantisation steps; around the tiles it is taken to be rounded.
            post_filter: what decoders are taken to use.
            coded: what coding ``y`` without a post-filter has given, where that is known.
        """
        rng = np.random.default_rng(0)
        best = (coded or self._code(goal, y)).through(post_filter)
        reach, caution, last_moves = 1.0, np.ones_like(y), np.zeros_like(y)
        if self.iterations == 1:  # to make sure would take as long again
            wanted, promise = moved(self.model, best.latents, REACH_ALONE, rng)
            if promise < CREDIBLE:
                return Refined(best, wanted)
        current, cost = best, self._cost(best, goal)
        least = cost
        for _ in range(iterations):
            # The filter changes little and slowly: what it adds is taken from what the synthesis should make.
            target = goal._replace(x=goal.x - (current.filtered - current.x_hat))
            wanted, _ = moved(self.model, current.latents, reach, rng, caution)
            moves = wanted - current.latents.decoded
            caution = np.where(moves * last_moves < 0, (CAUTION * caution).clip(max=MOST_CAUTION), caution)
            last_moves = np.where(moves, moves, last_moves)
            found = self._code(target, within(current.latents.y, wanted)).through(post_filter)
            before, cost = cost, self._cost(found, goal)
            reach *= LONGER if cost < before else SHORTER
            reach = reach if reach >= LEAST_REACH else NEW_REACH
            if cost < least:
                best, least = found, cost
            current, cost = (found, cost) if cost < ASTRAY * least else (best, least)
        return Refined(best, best.latents.decoded)

    def code(self, goal: Goal, refined: Refined) -> list[tuple[TileContent, np.ndarray]]:
        """The tiles of a block that was ``refined``, as ``encode_latents`` gives them.

        This is a closed loop: before context steps, but for ``open_steps``, their latents are moved and aimed once
        more, by what the errors of the steps before have made of their slopes.
        """
        parts = [np.s_[:, rows, columns] for rows, columns in goal.tiles]
        found, decoded = refined.coded, refined.wanted.copy()
        y = aimed(found.latents, decoded, SLOPE_SHARE)
        encoders = [
            LatentEncoder(self.engine, self.model, z_hat, y[part].shape, self.quality, hide=True)
            for z_hat, part in zip(found.hyper, parts, strict=True)
        ]
        target = goal._replace(x=goal.x - (found.filtered - found.x_hat))
        rng = np.random.default_rng(0)
        slope, stiffness = found.latents.slope, found.latents.stiffness  # the first step's latents are as they were
        for step in range(STEPS):
            predictions = [encoder.predict() for encoder in encoders]
            aims, rate_weight = y, 1.0
            if step >= self.open_steps:
                symbols, scale_index, is_next = _as_rounded(y, decoded, parts, predictions)
                if step:
                    _, slope, stiffness = self._slopes(decoded, target)
                latents = Latents(y, decoded, symbols, scale_index, slope * is_next, stiffness)
                wanted, promise = moved(self.model, latents, 1.0, rng)
                if promise < CREDIBLE:
                    aims, rate_weight = aimed(latents, wanted, FRESH_SLOPE_SHARE), FRESH_RATE_WEIGHT
            LatentEncoder.code(encoders, predictions, [aims[part] for part in parts], rate_weight)
            for part, encoder, predicted in zip(parts, encoders, predictions, strict=True):
                for p in predicted.positions:
                    decoded[part][p] = encoder.decoded[p] / UNITS
        return [(encoder.finish(), encoder.decoded) for encoder in encoders]

    def _cost(self, coded: Coded, goal: Goal) -> float:
        """Bits, and lambda * squared error."""
        bits = float(self.model.bits_of(coded.latents.symbols, coded.latents.scale_index).sum())
        for z_hat in coded.hyper:
            channels = np.arange(len(z_hat))[:, None, None]
            bits += float(self.model.hyper_bits[channels, z_hat.astype(np.int64) + HYPER_MAX].sum())
        return bits + float((goal.weight * np.square(coded.filtered - goal.x)).sum())

    def _code(self, goal: Goal, y: np.ndarray) -> Coded:
        decoded, hyper = np.rint(y), []
        symbols, scale_index = _no_symbols(y.shape)
        for rows, columns in goal.tiles:
            part = np.s_[:, rows, columns]
            z_hat = hyper_latents(self.engine, y[part])
            rounded = partial(_rounded, y[part], symbols=symbols[part], scale_index=scale_index[part])
            decoded[part] = walk(self.engine, z_hat, self.quality, y[part].shape, rounded) / UNITS
            hyper.append(z_hat)
        x_hat, slope, stiffness = self._slopes(decoded, goal)
        return Coded(Latents(y, decoded, symbols, scale_index, slope, stiffness), hyper, x_hat, x_hat)

    def _slopes(self, decoded: np.ndarray, goal: Goal) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the synthesis makes of ``decoded`` latents, how its error rises with those of the tiles, stiffness."""
        share = np.array([self.quality / MAX_QUALITY], np.float32)
        arrays = {"y_hat": decoded, "x": goal.x, "weight": goal.weight}
        with _AT_ONCE:
            found = self.engine.run(GRADIENT, quality=share, **{name: array[None] for name, array in arrays.items()})
        shapes = [(1, *goal.x.shape), (1, *decoded.shape)]
        if [array.shape for array in found] != shapes or not np.isfinite(found[1]).all():
            raise FormatError("the model's gradient does not fit its synthesis")
        x_hat, slope = (array[0] for array in found)
        error = goal.weight * np.square(x_hat - goal.x)
        error = error.sum(axis=0).reshape(slope.shape[1], CELL, -1, CELL).sum(axis=(1, 3))
        kept = np.zeros_like(slope)  # what is around the tiles stays as it is
        for rows, columns in goal.tiles:
            kept[:, rows, columns] = slope[:, rows, columns]
        return x_hat, kept, stiffness_of(slope, error)


def _no_symbols(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Arrays for symbols and scale indices."""
    return np.zeros(shape, np.int32), np.zeros(shape, np.int64)


def _rounded(y: np.ndarray, predicted: Predicted, symbols: np.ndarray, scale_index: np.ndarray) -> Blocks:
    """What a step's latents are beyond the means when ``y`` is rounded; fills the arrays of the rest."""
    for p, residual, index in zip(predicted.positions, predicted.residuals(y), predicted.indices, strict=True):
        symbols[p], scale_index[p] = symbols_of(residual), index
    return [symbols[p] * np.float32(UNITS) for p in predicted.positions]


def _as_rounded(
    y: np.ndarray, decoded: np.ndarray, parts: list, predictions: list[Predicted]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make of those latents of the ``predictions`` for ``parts`` of ``y`` what rounding would, in ``decoded``.

    Gives their symbols and scale indices, and which they are: each (M, h, w).
    """
    symbols, scale_index = _no_symbols(y.shape)
    is_next = np.zeros(y.shape, bool)
    for part, predicted in zip(parts, predictions, strict=True):
        residuals = _rounded(y[part], predicted, symbols[part], scale_index[part])
        for p, mean, residual in zip(predicted.positions, predicted.means, residuals, strict=True):
            decoded[part][p], is_next[part][p] = (mean + residual) / UNITS, True
    return symbols, scale_index, is_next


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
