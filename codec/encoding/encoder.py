"""A picture to a file, step by step: plan -> analysis -> refine -> code -> settle -> container.

Each step works on windows of one or more tiles, several at once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from codec.container import nic
from codec.container import tile as tile_format
from codec.container.nicm import ENTROPY_GRAPHS, GRADIENT
from codec.container.tile import ONE_COLOUR, TileContent
from codec.decoding.post_filter import PostFilter
from codec.encoding.analysis import analyse, refinement_target, window_pixels
from codec.encoding.closed_loop import code_refined
from codec.encoding.latents import encode_latents
from codec.encoding.plan import Plan, make_plan
from codec.encoding.post_filter import NormalEquations, fit_post_filter, sum_equations
from codec.encoding.refine import Coding, Refiner, refiner_for
from codec.encoding.settle import filter_equations, settle_window
from codec.encoding.webp import encode_lossless
from codec.geometry import Area, in_parallel
from codec.networks.engine import EnginePool
from codec.networks.model import Model
from codec.pictures.planes import Picture

MAX_CACHED_WINDOWS = 16
"""Up to this many windows, the coding of the first round of refining is cached for the second: 16 MB a window. Larger
pictures are coded again."""
CodedTiles = dict[Area, tuple[slice, slice]]
"""Tiles of a window that have latents, and their rows and columns in the latents of the window with its margin."""


@dataclass
class Tiles:
    """What is known of a picture's tiles so far; steps fill it in."""

    contents: dict[Area, TileContent]
    latents: np.ndarray  # (M, h, w): what a decoder will find, in 16ths of a step

    def store(self, plan: Plan, coded: CodedTiles, results: list[tuple[TileContent, np.ndarray]]) -> None:
        """Keep coded tiles, and the latents that decoders will find in them."""
        for tile, (content, decoded) in zip(coded, results, strict=True):
            self.contents[tile] = content
            self.latents[(slice(None), *tile.slices_in(plan.cells))] = decoded


class Draft(NamedTuple):
    """A window after the first round of refining."""

    window: Area
    coded: CodedTiles
    y: np.ndarray  # latents in quantisation steps
    coding: Coding | None  # of ``y``, where it is cached
    equations: NormalEquations  # of the post-filter


def encode_picture(
    engines: EnginePool, model: Model, picture: Picture, hundredths: int, *, fallback: bool, effort: int | None
) -> tuple[bytes, np.ndarray]:
    """The bytes of a file, and the latents (M, h, w) that a decoder finds in it.

    Args:
        hundredths: the quality, 0 to 10000.
        fallback: store tiles as WebP where that is better.
        effort: as for ``codec.encoding.refine.refiner_for``.
    """
    plan = make_plan(engines, model, picture, hundredths)
    refiner = refiner_for(plan.engine, model, hundredths, effort)
    tiles = Tiles(
        {tile: one_colour(plan, tile) for tile in plan.without_latents},
        np.zeros((model.latents, *plan.cells.shape), np.float32),
    )
    each_window = partial(in_parallel, items=plan.windows, threads=plan.windows_at_once)
    # Tiles may become WebP, or have a say in the post-filter.
    needs_settling = fallback or (refiner is not None and model.post_filters is not None)
    prepare_graphs(plan, refiner, needs_settling)

    if refiner is None:
        each_window(partial(code_window, plan, tiles))
    elif not refiner.knows_post_filter:
        each_window(partial(refine_and_code_window, plan, tiles, refiner))
    else:
        drafts = [draft for draft in each_window(partial(draft_window, plan, refiner)) if draft]
        packed = choose_post_filter(refiner, [draft.equations for draft in drafts])
        post_filter = PostFilter(plan.engine, model, packed) if packed else None
        in_parallel(partial(finish_draft, plan, tiles, refiner, post_filter), drafts, plan.windows_at_once)

    packed = b""
    if needs_settling:
        equations = each_window(partial(settle_window, plan, tiles.contents, tiles.latents, refiner, fallback))
        packed = choose_post_filter(refiner, [part for part in equations if part])
    header = dataclasses.replace(plan.header, post_filter=packed)
    contents = in_parallel(partial(pack_tile, plan, tiles), plan.tiles, plan.windows_at_once)
    return nic.write(header, contents, picture.metadata), tiles.latents


def one_colour(plan: Plan, tile: Area) -> TileContent:
    """The content of a tile of one colour, or of a fully transparent one."""
    return TileContent(ONE_COLOUR, plan.tile_pixels(tile)[0, 0].tobytes())


def prepare_graphs(plan: Plan, refiner: Refiner | None, needs_settling: bool) -> None:
    """Begin to load the graphs in the order in which they are needed."""
    if len(plan.without_latents) < len(plan.tiles):
        last = [GRADIENT] * (refiner is not None) + ["synthesis"] * needs_settling
        plan.engine.prepare("analysis", "hyper_analysis", *ENTROPY_GRAPHS, *last)


def coded_tiles(plan: Plan, window: Area) -> CodedTiles:
    """The tiles of a window that have latents."""
    outer = plan.with_margin(window)
    return {tile: tile.slices_in(outer) for tile in plan.tiles_in(window) if tile not in plan.without_latents}


def code_window(plan: Plan, tiles: Tiles, window: Area) -> None:
    """Analyse a window and code its tiles by rounding alone."""
    outer, coded = plan.with_margin(window), coded_tiles(plan, window)
    if coded:
        y = analyse(plan, window_pixels(plan, outer), outer)
        encode = partial(encode_latents, plan.engine, plan.model, hundredths=plan.header.hundredths)
        tiles.store(plan, coded, [encode(y[:, rows, columns]) for rows, columns in coded.values()])


def refine_and_code_window(plan: Plan, tiles: Tiles, refiner: Refiner, window: Area) -> None:
    """Analyse a window, refine its latents, and code them."""
    outer, coded = plan.with_margin(window), coded_tiles(plan, window)
    if coded:
        x = window_pixels(plan, outer)
        target = refinement_target(plan, x, outer, coded, refiner.lambda_)
        refinement = refiner.refine(target, analyse(plan, x, outer), refiner.iterations)
        tiles.store(plan, coded, code_refined(refiner, target, refinement))


def draft_window(plan: Plan, refiner: Refiner, window: Area) -> Draft | None:
    """The first round of refining: one iteration, after which it is known what a post-filter would do."""
    outer, coded = plan.with_margin(window), coded_tiles(plan, window)
    if not coded:
        return None
    x = window_pixels(plan, outer)
    target = refinement_target(plan, x, outer, coded, refiner.lambda_)
    coding = refiner.refine(target, analyse(plan, x, outer), 1).coding
    equations = sum_equations(list(filter_equations(plan, coded, coding.x_hat, outer).values()))
    cached = coding if len(plan.windows) <= MAX_CACHED_WINDOWS else None
    return Draft(window, coded, coding.state.y, cached, equations)


def finish_draft(plan: Plan, tiles: Tiles, refiner: Refiner, post_filter: PostFilter | None, draft: Draft) -> None:
    """The second round of refining, for what comes out behind the post-filter, and the coding of its result."""
    outer = plan.with_margin(draft.window)
    target = refinement_target(plan, window_pixels(plan, outer), outer, draft.coded, refiner.lambda_)
    refinement = refiner.refine(target, draft.y, refiner.iterations - 1, post_filter, draft.coding)
    tiles.store(plan, draft.coded, code_refined(refiner, target, refinement))


def choose_post_filter(refiner: Refiner | None, equations: list[NormalEquations]) -> bytes:
    """The packed filter for the pixels of all ``equations``; empty where none pays."""
    return fit_post_filter(sum_equations(equations), refiner.lambda_) if refiner and equations else b""


def pack_tile(plan: Plan, tiles: Tiles, tile: Area) -> bytes:
    """The bytes of a tile, with its alpha; decoders find zeros for the latents of a tile without any."""
    content = tiles.contents[tile]
    if not content.has_latents:
        tiles.latents[(slice(None), *tile.slices_in(plan.cells))] = 0
    if plan.picture.alpha is not None:
        alpha = plan.picture.alpha[plan.pixel_slices(tile)]
        if alpha.min() < 255:
            content = content._replace(alpha=encode_lossless(alpha))
    return tile_format.pack(content, plan.header.alpha)
