"""Settling a coded window: WebP for tiles that it codes better; the equations of a post-filter for the others."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import numpy as np

from codec.container.tile import WEBP, TileContent
from codec.decoding.decoder import synthesise, to_levels
from codec.encoding.plan import MARGIN, Plan
from codec.encoding.post_filter import (
    NormalEquations,
    filter_statistics,
    in_coefficients,
    row_stride,
    sum_equations,
)
from codec.encoding.refine import Refiner
from codec.encoding.webp import better_webp, mse
from codec.geometry import CELL, Area, pixels_of


def settle_window(
    plan: Plan,
    contents: dict[Area, TileContent],
    latents: np.ndarray,
    refiner: Refiner | None,
    fallback: bool,
    window: Area,
) -> NormalEquations | None:
    """Decode a window; replace those of its ``contents`` that WebP codes better.

    Returns the equations of a post-filter over the tiles that keep their ``latents``; None without any, or without a
    post-filter.
    """
    coded = [tile for tile in plan.tiles_in(window) if contents[tile].has_latents]
    if not coded:
        return None

    def decode() -> tuple[dict[Area, NormalEquations], np.ndarray]:
        x_hat = synthesise(plan.engine, latents, plan.cells, window, plan.header.hundredths, MARGIN)
        equations = filter_equations(plan, coded, x_hat, window) if refiner else {}
        return equations, to_levels(x_hat)  # in this order: ``to_levels`` overwrites x_hat

    # WebP works on one core while the synthesis, which scales badly over threads, takes the others.
    with ThreadPoolExecutor(1) as pool:
        decoded = pool.submit(decode)
        if fallback:
            for tile in coded:
                webp = _webp_of(plan, tile, contents[tile], window, decoded)
                if webp is not None:
                    contents[tile] = TileContent(WEBP, webp)
    equations, _ = decoded.result()
    remaining = [part for tile, part in equations.items() if contents[tile].has_latents]
    return sum_equations(remaining) if remaining else None


def filter_equations(plan: Plan, coded: Iterable[Area], x_hat: np.ndarray, area: Area) -> dict[Area, NormalEquations]:
    """Each tile's equations of a post-filter, from the synthesis output ``x_hat`` of ``area``.

    Empty for models without post-filters.
    """
    filters = plan.model.post_filters
    if filters is None:
        return {}
    equations = {}
    stride = row_stride(plan.picture.pixels[..., 0].size)
    for tile in coded:
        pixels = plan.tile_pixels(tile).transpose(2, 0, 1)
        rows, columns = tile.scaled(CELL).slices_in(area.scaled(CELL))
        part = x_hat[:, rows, columns][:, : pixels.shape[1], : pixels.shape[2]]
        equations[tile] = in_coefficients(filter_statistics(pixels, part, stride).equations, filters)
    return equations


def _webp_of(
    plan: Plan, tile: Area, content: TileContent, window: Area, decoded: Future[tuple[dict, np.ndarray]]
) -> bytes | None:
    """The tile as WebP, where that is smaller than its latents and no further from the original."""
    original, visible = plan.tile_pixels(tile), plan.visible_pixels(tile)
    inside = pixels_of(tile, *plan.frame.shape).slices_in(window.scaled(CELL))

    @cache  # asked for with every trial
    def latents_mse() -> float:
        _, pixels = decoded.result()
        return mse(pixels[inside][visible], original[visible])

    return better_webp(original, visible, len(content.colours), latents_mse)
