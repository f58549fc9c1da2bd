"""A file to a picture: the tiles that are needed are taken apart, and blocks synthesised from their latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from codec import format
from codec.engine import Engine, Engines
from codec.errors import FormatError, LimitError
from codec.latents import decode_latents
from codec.model_file import ENTROPY_GRAPHS, POST_FILTER, Model
from codec.pictures import Picture
from codec.post_filter import PostFilter
from codec.tables import MEAN_SHIFT
from codec.tile_content import TileContent, unpack
from codec.tiles import CELL, Area, block_size, cells_of, in_parallel, overlap, run_with_halo

MAX_PIXELS = 1 << 28
BLOCK = 64
"""Cells on a side of what is synthesised at once."""
FILTER_HALO = 1
"""Cells around a block that its post-filter looks into."""


def synthesise_block(
    engine: Engine,
    model: Model,
    latents: np.ndarray,
    whole: Area,
    block: Area,
    header: format.Header,
    post_filter: PostFilter | None = None,
) -> np.ndarray:
    """Pixels, uint8 (H, W, 3), of the cells ``block``; ``latents`` (M, h, w) holds the cells ``whole``."""
    halo = model.metadata["synthesis_halo"]
    if post_filter is None:
        return levels_of(synthesised(engine, latents, whole, block, header, halo))
    outer = block.grown(FILTER_HALO, whole)
    x_hat = synthesised(engine, latents, whole, outer, header, halo)
    return levels_of(run_with_halo(post_filter, x_hat, block, outer, FILTER_HALO))


def synthesised(
    engine: Engine, latents: np.ndarray, whole: Area, block: Area, header: format.Header, halo: int
) -> np.ndarray:
    """x_hat (3, H, W), around [0, 1], of the cells ``block``, as ``synthesise_block`` takes them.

    So many cells of ``halo`` around them are looked at.
    """
    quality = np.array([header.quality / format.MAX_QUALITY], np.float32)

    def synthesise(y_hat: np.ndarray) -> np.ndarray:
        return engine.run("synthesis", y_hat=y_hat[None] * 2.0**-MEAN_SHIFT, quality=quality)[0][0]

    return run_with_halo(synthesise, latents, block, whole, halo)


def levels_of(x_hat: np.ndarray) -> np.ndarray:
    """Pixels, uint8 (H, W, 3), of what the synthesis gives (3, H, W), which may be overwritten."""
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
        FormatError: for a region that is not inside the picture, or a post-filter that is none of the model's.
    """

    reader: format.Reader
    engines: Engines
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
            raise FormatError(f"the region is not inside the picture of {header.width}x{header.height} pixels")
        self.area = Area(top, left, bottom, right)
        picture = cells_of(header.height, header.width)
        self.cells = Area(top // CELL, left // CELL, -(-bottom // CELL), -(-right // CELL))
        self.blocks = list(self.cells.divided(block_size(header.tile_size // CELL, BLOCK)))
        self.engine, self.at_once = self.engines.for_blocks(self.blocks)
        has_filter = bool(header.post_filter)
        self.post_filter = PostFilter(self.engine, self.model, header.post_filter) if has_filter else None
        self.outer = self.cells.grown(self.model.metadata["synthesis_halo"] + FILTER_HALO * has_filter, picture)
        tiles = enumerate(picture.divided(header.tile_size // CELL))
        self.tiles = [(index, tile) for index, tile in tiles if overlap(tile, self.outer)]

    def decode_tiles(self, *next_graphs: str) -> np.ndarray:
        """The latents (M, h, w) of the cells ``outer``, zero where a tile has none. Fills ``contents``.

        Where any has latents, ``next_graphs`` begin to load as well.
        """
        latents = np.zeros((self.model.metadata["latents"], *self.outer.shape), np.float32)
        self.contents: dict[int, TileContent] = {}
        tiles = self._unpacked()  # read one by one (a file has one position), taken apart in parallel
        if any(content.has_latents for content in self.contents.values()):
            self.engine.prepare(*ENTROPY_GRAPHS, *next_graphs)
        in_parallel(lambda found: self._place(*found, latents), tiles, self.at_once)
        return latents

    def _unpacked(self) -> list[tuple[int, Area]]:
        for index, _ in self.tiles:
            self._unless_damaged(index, lambda i=index: self._unpack(i))
        return [(index, tile) for index, tile in self.tiles if index in self.contents]

    def _unpack(self, index: int) -> None:
        self.contents[index] = unpack(self.reader.tile(index), self.header.alpha)

    def _place(self, index: int, tile: Area, latents: np.ndarray) -> None:
        def decode() -> None:
            content = self.contents[index]
            if content.has_latents:
                found = decode_latents(self.engine, self.model, content, self.header.quality, *tile.shape)
                both = tile.common(self.outer)
                latents[(slice(None), *both.within(self.outer))] = found[(slice(None), *both.within(tile))]

        self._unless_damaged(index, decode)

    def _unless_damaged(self, index: int, work: Callable[[], None]) -> None:
        try:
            work()
        except FormatError:
            if not self.reader.salvage:
                raise
            self.contents.pop(index, None)
            self.damaged.append(index)

    def decode(self) -> Picture:
        """The picture, or its region. In salvage, damaged tiles get the mean colour of the others."""
        latents = self.decode_tiles("synthesis", *([POST_FILTER] if self.post_filter else []))
        pixels = np.zeros((*self.cells.times(CELL).shape, 3), np.uint8)

        def fill(block: Area) -> None:
            there = (self.contents[i] for i, tile in self.tiles if i in self.contents and overlap(tile, block))
            if any(content.has_latents for content in there):
                rows, columns = block.times(CELL).within(self.cells.times(CELL))
                pixels[rows, columns] = synthesise_block(
                    self.engine, self.model, latents, self.outer, block, self.header, self.post_filter
                )

        in_parallel(fill, self.blocks, self.at_once)
        rows, columns = self.area.within(self.cells.times(CELL))
        pixels = pixels[rows, columns]
        alpha = np.full(self.area.shape, 255, np.uint8) if self.header.alpha else None
        for index, tile in self.tiles:
            self._unless_damaged(index, lambda i=index, t=tile: self._paste(i, t, pixels, alpha))
        self._fill_damaged(pixels)
        metadata = {} if self.region else self.reader.metadata()
        return Picture(pixels, self.header.grey, alpha, metadata)

    def _paste(self, index: int, tile: Area, pixels: np.ndarray, alpha: np.ndarray | None) -> None:
        there = tile.times(CELL).common(Area(0, 0, self.header.height, self.header.width))
        both = there.common(self.area)
        if index not in self.contents or min(both.shape) <= 0:
            return
        content = self.contents[index]
        target = both.within(self.area)
        if not content.has_latents:
            found = np.broadcast_to(content.classical_pixels(*there.shape), (*there.shape, 3))
            pixels[target] = found[both.within(there)]
        if alpha is not None:
            alpha[target] = content.alpha_plane(*there.shape)[both.within(there)]

    def _fill_damaged(self, pixels: np.ndarray) -> None:
        self.damaged.sort()
        if not self.damaged:
            return
        intact = np.ones(pixels.shape[:2], bool)
        places = {index: tile for index, tile in self.tiles}
        for index in self.damaged:
            both = places[index].times(CELL).common(self.area)
            if min(both.shape) > 0:
                intact[both.within(self.area)] = False
        pixels[~intact] = pixels[intact].mean(axis=0).round() if intact.any() else 128
