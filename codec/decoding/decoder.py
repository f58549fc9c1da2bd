"""A file to a picture: its tiles are unpacked and range-decoded, and windows of pixels synthesised from the latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from codec.container import nic
from codec.container.nicm import ENTROPY_GRAPHS, POST_FILTER
from codec.container.tile import TileContent, unpack
from codec.decoding.latents import decode_latents
from codec.decoding.post_filter import PostFilter
from codec.decoding.webp import alpha_plane, stored_pixels
from codec.entropy.constants import UNITS, unit_quality
from codec.errors import ArgumentError, FormatError, LimitError
from codec.geometry import CELL, Area, cells_of, in_parallel, pixels_of, run_with_halo, window_size
from codec.networks.engine import Engine, EnginePool
from codec.networks.model import Model
from codec.pictures.planes import Picture

MAX_PIXELS = 1 << 28
"""Pixels of the largest picture that is encoded or decoded."""
WINDOW = 64
"""Cells on a side of what is synthesised at once."""
FILTER_HALO = 1
"""Cells around a window that its post-filter looks into."""


def synthesise(
    engine: Engine, latents: np.ndarray, whole: Area, window: Area, hundredths: int, halo: int
) -> np.ndarray:
    """x_hat (3, H, W), around [0, 1], of the cells ``window``; ``latents`` (M, h, w) cover the cells ``whole``.

    ``halo`` cells around the window are looked at.
    """
    quality = np.array([unit_quality(hundredths)])

    def run(y_hat: np.ndarray) -> np.ndarray:
        shape = (1, 3, *(CELL * side for side in y_hat.shape[1:]))
        return engine.run("synthesis", shape, y_hat=y_hat[None] / np.float32(UNITS), quality=quality)[0][0]

    return run_with_halo(run, latents, window, whole, halo)


def to_levels(x_hat: np.ndarray) -> np.ndarray:
    """Pixels, uint8 (H, W, 3), from ``x_hat`` (3, H, W), which is overwritten."""
    levels = np.fmax(x_hat, 0, out=x_hat)  # in place: copies of a whole picture take as long as the arithmetic
    np.minimum(levels, 1, out=levels)
    levels *= 255
    levels += 0.5
    return levels.astype(np.uint8).transpose(1, 2, 0)


@dataclass
class Decoder:
    """Decodes a region of a file, or all of it.

    Args:
        region: left, top, right, bottom in pixels; None for the whole picture.

    Raises:
        LimitError: for a picture that is larger than this reader takes.
        ArgumentError: for a region that is not inside the picture.
        FormatError: for a post-filter that is not one of the model's.
    """

    reader: nic.Reader
    engines: EnginePool
    model: Model
    region: tuple[int, int, int, int] | None = None
    damaged: list[int] = field(init=False, default_factory=list)
    """Indices of the tiles that could not be decoded (only where the reader salvages)."""

    def __post_init__(self) -> None:
        header = self.header = self.reader.header
        if header.width * header.height > MAX_PIXELS:
            raise LimitError(f"a picture of {header.width}x{header.height} pixels: this reader takes {MAX_PIXELS}")
        left, top, right, bottom = self.region or (0, 0, header.width, header.height)
        if not (0 <= left < right <= header.width and 0 <= top < bottom <= header.height):
            raise ArgumentError(f"the region is not inside the picture of {header.width}x{header.height} pixels")
        tile_cells = header.tile_size // CELL
        self.area = Area(top, left, bottom, right)  # in pixels
        self.cells = Area(top // CELL, left // CELL, -(-bottom // CELL), -(-right // CELL))
        self.windows = list(self.cells.split(window_size(tile_cells, WINDOW)))
        self.engine, self.at_once = self.engines.for_windows(self.windows)
        has_filter = bool(header.post_filter)
        self.post_filter = PostFilter(self.engine, self.model, header.post_filter) if has_filter else None
        picture_cells = cells_of(header.height, header.width)
        # The cells whose latents are needed, and the tiles that hold them.
        self.outer = self.cells.padded(self.model.synthesis_halo + FILTER_HALO * has_filter, picture_cells)
        tiles = enumerate(picture_cells.split(tile_cells))
        self.tiles = {index: tile for index, tile in tiles if tile.overlaps(self.outer)}
        self.contents: dict[int, TileContent] = {}

    def decode(self) -> Picture:
        """The picture, or its region. Salvage gives damaged tiles the mean colour of the others."""
        latents = self.decode_latents("synthesis", *([POST_FILTER] if self.post_filter else []))
        pixels = self._synthesise_windows(latents)
        alpha = np.full(self.area.shape, 255, np.uint8) if self.header.alpha else None
        for index in self.tiles:
            self._unless_damaged(index, partial(self._paste_stored, index, pixels, alpha))
        self._fill_damaged(pixels)
        metadata = {} if self.region else self.reader.metadata()
        return Picture(pixels, self.header.grey, alpha, metadata)

    def decode_latents(self, *next_graphs: str) -> np.ndarray:
        """The latents (M, h, w) of the cells ``outer``, zero in tiles without any.

        Where any tile has latents, ``next_graphs`` begin to load as well.
        """
        latents = np.zeros((self.model.latents, *self.outer.shape), np.float32)
        for index in self.tiles:  # one by one: a file has one position
            self._unless_damaged(index, partial(self._unpack, index))
        with_latents = [index for index, content in self.contents.items() if content.has_latents]
        if with_latents:
            self.engine.prepare(*ENTROPY_GRAPHS, *next_graphs)
        in_parallel(
            lambda i: self._unless_damaged(i, lambda: self._decode_tile(i, latents)), with_latents, self.at_once
        )
        return latents

    def _unpack(self, index: int) -> None:
        self.contents[index] = unpack(self.reader.tile(index), self.header.alpha)

    def _decode_tile(self, index: int, latents: np.ndarray) -> None:
        tile = self.tiles[index]
        decoded = decode_latents(self.engine, self.model, self.contents[index], self.header.hundredths, *tile.shape)
        needed = tile.intersection(self.outer)
        latents[(slice(None), *needed.slices_in(self.outer))] = decoded[(slice(None), *needed.slices_in(tile))]

    def _unless_damaged(self, index: int, work: Callable[[], None]) -> None:
        """Run ``work`` on a tile; salvage notes a damaged one and goes on."""
        try:
            work()
        except FormatError:
            if not self.reader.salvage:
                raise
            self.contents.pop(index, None)
            self.damaged.append(index)

    def _synthesise_windows(self, latents: np.ndarray) -> np.ndarray:
        """Pixels, uint8 (H, W, 3), of the region; zero in windows without latents."""
        covered = self.cells.scaled(CELL)
        pixels = np.zeros((*covered.shape, 3), np.uint8)

        def fill(window: Area) -> None:
            if any(c.has_latents and self.tiles[i].overlaps(window) for i, c in self.contents.items()):
                pixels[window.scaled(CELL).slices_in(covered)] = self._synthesise_window(latents, window)

        in_parallel(fill, self.windows, self.at_once)
        return pixels[self.area.slices_in(covered)]

    def _synthesise_window(self, latents: np.ndarray, window: Area) -> np.ndarray:
        halo, hundredths = self.model.synthesis_halo, self.header.hundredths
        if self.post_filter is None:
            return to_levels(synthesise(self.engine, latents, self.outer, window, hundredths, halo))
        padded = window.padded(FILTER_HALO, self.outer)
        x_hat = synthesise(self.engine, latents, self.outer, padded, hundredths, halo)
        return to_levels(run_with_halo(self.post_filter, x_hat, window, padded, FILTER_HALO))

    def _tile_pixels(self, index: int) -> Area:
        """The pixels of a tile, as far as the picture goes."""
        return pixels_of(self.tiles[index], self.header.height, self.header.width)

    def _paste_stored(self, index: int, pixels: np.ndarray, alpha: np.ndarray | None) -> None:
        """Put what a tile stores without latents, and its alpha, where it belongs."""
        tile = self._tile_pixels(index)
        if index not in self.contents or not tile.overlaps(self.area):
            return
        content, needed = self.contents[index], tile.intersection(self.area)
        source, target = needed.slices_in(tile), needed.slices_in(self.area)
        if not content.has_latents:
            pixels[target] = np.broadcast_to(stored_pixels(content, *tile.shape), (*tile.shape, 3))[source]
        if alpha is not None:
            alpha[target] = alpha_plane(content, *tile.shape)[source]

    def _fill_damaged(self, pixels: np.ndarray) -> None:
        self.damaged.sort()
        if not self.damaged:
            return
        is_intact = np.ones(pixels.shape[:2], bool)
        for index in self.damaged:
            tile = self._tile_pixels(index)
            if tile.overlaps(self.area):
                is_intact[tile.intersection(self.area).slices_in(self.area)] = False
        pixels[~is_intact] = pixels[is_intact].mean(axis=0).round() if is_intact.any() else 128
