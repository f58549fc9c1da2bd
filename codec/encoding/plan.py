"""What is decided before a picture is encoded: its header, its tiles and windows, and which tiles need latents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codec.container import nic
from codec.geometry import CELL, Area, cells_of, in_parallel, pixels_of, window_size
from codec.networks.engine import Engine, EnginePool
from codec.networks.model import Model
from codec.pictures.planes import Picture

SINGLE_TILE_PIXELS, SMALL_TILE_PIXELS = 1 << 19, 1 << 22
"""Pictures of up to so many pixels are coded in tiles of 1024 pixels, most of them in a single one; those of more than
the second in tiles of 256, so that a region of them costs little to decode; others in tiles of 512."""
WINDOW = 32
"""Cells on a side of what is analysed and refined at once, which takes more memory than decoding. Larger windows do not
fit in caches: the gradient of a cell takes 0.33 ms in windows of up to 40 cells, 0.38 of 48, 0.5 of 64."""
MARGIN = 1
"""Cells around a window that it is analysed and refined with. Transforms look further, but see little there: without
the cells beyond, latents are off by up to 0.003 of a step, pixels by a third of a level, on average."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A picture that is to be encoded, and how it is divided. Areas are in cells."""

    model: Model
    engine: Engine
    windows_at_once: int
    picture: Picture
    header: nic.Header
    cells: Area  # the whole picture
    tiles: list[Area]
    windows: list[Area]
    without_latents: frozenset[Area]  # tiles of one colour, and fully transparent ones

    @property
    def frame(self) -> Area:
        """The picture in pixels."""
        return Area(0, 0, self.header.height, self.header.width)

    def pixel_slices(self, tile: Area) -> tuple[slice, slice]:
        """Rows and columns of a tile's pixels in the picture."""
        return pixels_of(tile, *self.frame.shape).slices_in(self.frame)

    def tile_pixels(self, tile: Area) -> np.ndarray:
        """The pixels of a tile, as far as the picture goes: uint8 (H, W, 3)."""
        return self.picture.pixels[self.pixel_slices(tile)]

    def visible_pixels(self, tile: Area) -> np.ndarray:
        """Which pixels of a tile are not fully transparent: bool (H, W)."""
        rows, columns = self.pixel_slices(tile)
        if self.picture.alpha is None:
            return np.ones((rows.stop - rows.start, columns.stop - columns.start), bool)
        return self.picture.alpha[rows, columns] > 0

    def with_margin(self, window: Area) -> Area:
        """A window with the cells around it that it is analysed with."""
        return window.padded(MARGIN, self.cells)

    def tiles_in(self, area: Area) -> Iterator[Area]:
        """The tiles that overlap an area."""
        tile_cells = self.header.tile_size // CELL
        return area.aligned(tile_cells).intersection(self.cells).split(tile_cells)


def tile_exponent(pixels: int) -> int:
    """The tile exponent of a picture of so many pixels: its tiles have sides of ``64 << exponent`` pixels."""
    return 2 if pixels > SMALL_TILE_PIXELS else 3 if pixels > SINGLE_TILE_PIXELS else nic.MAX_TILE_EXPONENT


def make_plan(engines: EnginePool, model: Model, picture: Picture, hundredths: int) -> Plan:
    """The plan for encoding ``picture`` at a quality in hundredths."""
    height, width = picture.pixels.shape[:2]
    exponent = tile_exponent(height * width)
    alpha = picture.alpha
    header = nic.Header(model.model_id, width, height, hundredths, picture.grey, alpha is not None, exponent)
    cells, tile_cells = cells_of(height, width), header.tile_size // CELL
    tiles = list(cells.split(tile_cells))
    windows = list(cells.split(window_size(tile_cells, WINDOW)))
    engine, windows_at_once = engines.for_windows(windows)
    frame = Area(0, 0, height, width)

    def needs_no_latents(tile: Area) -> bool:
        inside = pixels_of(tile, height, width).slices_in(frame)
        pixels = picture.pixels[inside]
        return bool((pixels == pixels[0, 0]).all()) or (alpha is not None and not alpha[inside].any())

    flags = in_parallel(needs_no_latents, tiles, windows_at_once)
    without_latents = frozenset(tile for tile, flag in zip(tiles, flags, strict=True) if flag)
    return Plan(model, engine, windows_at_once, picture, header, cells, tiles, windows, without_latents)
