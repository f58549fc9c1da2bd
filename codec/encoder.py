"""A picture to a file: blocks are analysed, tiles coded, decoded again, and replaced where WebP does better."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from codec import format
from codec.classical import better_webp, encode_lossless, mse
from codec.decoder import levels_of, synthesised
from codec.engine import Engines
from codec.errors import FormatError
from codec.latents import encode_latents
from codec.model_file import ENTROPY_GRAPHS, GRADIENT, Model
from codec.pictures import Picture
from codec.post_filter import Evidence, PostFilter, fitted, row_stride, statistics
from codec.range_coder import VALUE_LIMIT
from codec.refine import Coded, Goal, refiner_for
from codec.tile_content import ONE_COLOUR, WEBP, TileContent
from codec.tiles import CELL, Area, block_size, cells_of, in_parallel

LARGE_TILES_UP_TO, SMALL_TILES_FROM = 1 << 19, 1 << 22
"""Pictures of up to so many pixels are coded in tiles of 1024 pixels, most of them in a single one; those of more than
the second in tiles of 256, so that a region of them costs little to decode; others in tiles of 512."""
BLOCK = 32
"""Cells on a side of what is analysed and refined at once, which takes more memory than decoding. What larger blocks
take is more than caches hold: a cell's gradient takes 0.33 ms in blocks of up to 40 cells, 0.38 of 48, 0.5 of 64."""
SURROUNDINGS = 1
"""Cells around a block that it is analysed and refined with. Transforms look further, but see little there: without the
next cells latents are off by up to 0.003 of a step, pixels by a third of a level, on average. Decoders look at all."""
KEPT_BLOCKS = 16
"""Of pictures of so many blocks, what the first round of refining coded is kept for the second: 16 MB a block. Larger
pictures are coded again."""
CodedTiles = dict[Area, tuple[slice, slice]]
"""Tiles of a block that are coded, and their rows and columns of the latents of it and its surroundings."""


@dataclass
class _Encoder:
    engines: Engines
    model: Model
    picture: Picture
    header: format.Header
    fallback: bool
    effort: int | None

    def __post_init__(self) -> None:
        self.pixels = self.picture.pixels
        self.frame = Area(0, 0, *self.pixels.shape[:2])
        self.cells = cells_of(*self.pixels.shape[:2])
        self.tile_cells = self.header.tile_size // CELL
        self.tiles = list(self.cells.divided(self.tile_cells))
        self.blocks = list(self.cells.divided(block_size(self.tile_cells, BLOCK)))
        self.engine, self.at_once = self.engines.for_blocks(self.blocks)
        self.refiner = refiner_for(self.engine, self.model, self.header.quality, self.effort)
        self.flat: dict[Area, bool] = {}
        self.contents: dict[Area, TileContent] = {}
        self.evidence: dict[Area, Evidence | None] = {}
        # What waits for its second round: tiles, latents in quantisation steps, and what coding these gave.
        self.refined: dict[Area, tuple[CodedTiles, np.ndarray, Coded | None]] = {}
        self.latents = np.zeros((self.model.metadata["latents"], *self.cells.shape), np.float32)

    def block_pixels(self, cells: Area) -> np.ndarray:
        """x (3, H, W) in [0, 1] of whole ``cells``, the picture's last row and column repeated beyond its edges."""
        part = self.pixels[self.inside(cells)]
        missing = [(0, wanted - there) for wanted, there in zip(cells.times(CELL).shape, part.shape, strict=False)]
        return np.pad(part, (*missing, (0, 0)), mode="edge").transpose(2, 0, 1).astype(np.float32) / 255

    def inside(self, tile: Area) -> tuple[slice, slice]:
        """The tile's rows and columns of the picture."""
        return tile.times(CELL).common(self.frame).within(self.frame)

    def planes(self, cells: Area) -> np.ndarray:
        """Pixels (3, H, W) of ``cells``, as far as they are inside the picture."""
        return self.pixels[self.inside(cells)].transpose(2, 0, 1)

    def is_hidden(self, tile: Area) -> bool:
        """Whether a tile is fully transparent."""
        return self.picture.alpha is not None and not self.picture.alpha[self.inside(tile)].any()

    def is_flat(self, tile: Area) -> bool:
        """Whether a tile is of one colour, or hidden: it has no latents."""
        if tile not in self.flat:  # its neighbours ask as well
            pixels = self.pixels[self.inside(tile)]
            self.flat[tile] = bool((pixels == pixels[0, 0]).all()) or self.is_hidden(tile)
        return self.flat[tile]

    def surrounded(self, block: Area) -> Area:
        """A block with what lies around it."""
        return block.grown(SURROUNDINGS, self.cells)

    def tiles_in(self, cells: Area) -> Iterator[Area]:
        """The tiles that have a part in an area."""
        return cells.aligned(self.tile_cells).common(self.cells).divided(self.tile_cells)

    def goal(self, x: np.ndarray, outer: Area, coded: CodedTiles) -> Goal:
        """What the latents of a block and its surroundings, of pixels ``x``, are to become.

        Errors count where tiles have latents.
        """
        weight = np.zeros((1, *x.shape[1:]), np.float32)
        for tile in self.tiles_in(outer):
            if not self.is_flat(tile):
                counted = tile.common(outer).times(CELL).common(self.frame)
                weight[(0, *counted.within(outer.times(CELL)))] = self.refiner.weight
        return Goal(x, weight, list(coded.values()))

    def analysed(self, x: np.ndarray, outer: Area) -> np.ndarray:
        """Latents (M, h, w), in quantisation steps, of an area of pixels ``x``; zero where a tile has none."""
        quality = np.array([self.header.quality / format.MAX_QUALITY])
        y = self.engine.run("analysis", x=x[None], quality=quality)[0][0]
        if y.shape != (len(self.latents), *outer.shape):
            raise FormatError("the model's analysis does not give as many latents as it should")
        for tile in filter(self.is_flat, self.tiles_in(outer)):
            y[(slice(None), *tile.common(outer).within(outer))] = 0
        return np.nan_to_num(y).clip(-VALUE_LIMIT, VALUE_LIMIT)  # a damaged model's may be anything

    def encode_block(self, block: Area) -> None:
        """Code every tile of a block that is not of one colour, or hidden."""
        outer, coded = self.surrounded(block), {}
        for tile in self.tiles_in(block):
            if self.is_flat(tile):
                self.contents[tile] = TileContent(ONE_COLOUR, self.pixels[self.inside(tile)][0, 0].tobytes())
            else:
                coded[tile] = tile.within(outer)
        if not coded:
            return
        last = [GRADIENT, "synthesis"] if self.refiner else ["synthesis"] if self.fallback else []
        self.engine.prepare("analysis", "hyper_analysis", *ENTROPY_GRAPHS, *last)
        x = self.block_pixels(outer)
        y = self.analysed(x, outer)
        if self.refiner is None:
            quality = self.header.quality
            contents = [encode_latents(self.engine, self.model, y[:, r, c], quality) for r, c in coded.values()]
            self.store(coded, contents)
            return
        first, *more = self.refiner.rounds
        goal = self.goal(x, outer, coded)
        refined = self.refiner.refine(goal, y, first)
        if not more:
            self.store(coded, self.refiner.code(goal, refined))
            return
        found = self.evidence_of(list(coded), refined.coded.x_hat, outer)
        self.evidence[block] = Evidence.sum(list(found.values()))
        kept = refined.coded if len(self.blocks) <= KEPT_BLOCKS else None
        self.refined[block] = coded, refined.coded.latents.y, kept

    def store(self, coded: CodedTiles, contents: list[tuple[TileContent, np.ndarray]]) -> None:
        """Keep coded tiles and what decoders make of them."""
        for tile, (content, decoded) in zip(coded, contents, strict=True):
            self.contents[tile] = content
            self.latents[(slice(None), *tile.within(self.cells))] = decoded

    def latent_tiles(self, block: Area) -> list[Area]:
        """Those of a block's tiles that are stored as latents."""
        return [tile for tile in self.tiles_in(block) if self.contents[tile].has_latents]

    def evidence_of(self, coded: list[Area], x_hat: np.ndarray, area: Area) -> dict[Area, Evidence]:
        """What tiles want of a post-filter, where the synthesis made ``x_hat`` of an area around them."""
        filters = self.model.post_filters
        if filters is None or self.refiner is None:
            return {}
        found = {}
        stride = row_stride(self.pixels[..., 0].size)
        for tile in coded:
            pixels = self.planes(tile)
            rows, columns = tile.times(CELL).within(area.times(CELL))
            part = x_hat[:, rows, columns][:, : pixels.shape[1], : pixels.shape[2]]
            found[tile] = Evidence.of(filters, statistics(pixels, part, stride))
        return found

    def settle_block(self, block: Area) -> None:
        """Store the tiles of a block that WebP codes better as WebP; note what others want of a post-filter."""
        coded = self.latent_tiles(block)
        if not coded:
            self.evidence[block] = None
            return
        # WebP works on one core while the synthesis, which scales badly over threads, takes the others.
        with ThreadPoolExecutor(1) as pool:
            decoded = pool.submit(self.decoded_block, block, coded)
            if self.fallback:
                self.replace_tiles(block, coded, decoded)
        found, _ = decoded.result()
        kept = [found[tile] for tile in self.latent_tiles(block) if tile in found]
        self.evidence[block] = Evidence.sum(kept) if kept else None

    def decoded_block(self, block: Area, coded: list[Area]) -> tuple[dict[Area, Evidence], np.ndarray]:
        """What the ``coded`` tiles of a block want of a post-filter, and its pixels (H, W, 3) without one."""
        x_hat = synthesised(self.engine, self.latents, self.cells, block, self.header, SURROUNDINGS)
        return self.evidence_of(coded, x_hat, block), levels_of(x_hat)  # in this order: levels overwrite x_hat

    def replace_tiles(self, block: Area, coded: list[Area], decoded: Future[tuple[dict, np.ndarray]]) -> None:
        """Store those of the ``coded`` tiles of a block as WebP that it codes better than they were ``decoded``."""
        for tile in coded:
            original = self.pixels[self.inside(tile)]
            top, left = (tile.top - block.top) * CELL, (tile.left - block.left) * CELL
            inside = np.s_[top : top + original.shape[0], left : left + original.shape[1]]
            error = cache(partial(self._error, decoded, inside, original))  # asked for with every trial
            webp = better_webp(original, len(self.contents[tile].colours), error)
            if webp is not None:
                self.contents[tile] = TileContent(WEBP, webp)

    @staticmethod
    def _error(decoded: Future[tuple[dict, np.ndarray]], inside: tuple[slice, slice], original: np.ndarray) -> float:
        _, pixels = decoded.result()
        return mse(pixels[inside], original)

    def content(self, tile: Area) -> bytes:
        """The bytes of a coded tile."""
        content = self.contents[tile]
        if not content.has_latents:
            self.latents[(slice(None), *tile.within(self.cells))] = 0
        if self.picture.alpha is not None:
            alpha = self.picture.alpha[self.inside(tile)]
            if alpha.min() < 255:
                content = content._replace(alpha=encode_lossless(alpha))
        return content.pack(self.header.alpha)

    def encode(self) -> bytes:
        """The bytes of the file."""
        in_parallel(self.encode_block, self.blocks, self.at_once)
        if self.refined:
            packed = self.post_filter()
            post_filter = PostFilter(self.engine, self.model, packed) if packed else None
            iterations = self.refiner.rounds[1]

            def refine_again(block: Area) -> None:
                coded, y, kept = self.refined.pop(block)
                outer = self.surrounded(block)
                goal = self.goal(self.block_pixels(outer), outer, coded)
                refined = self.refiner.refine(goal, y, iterations, post_filter, kept)
                self.store(coded, self.refiner.code(goal, refined))

            in_parallel(refine_again, list(self.refined), self.at_once)
        if self.fallback or self.refiner:
            in_parallel(self.settle_block, self.blocks, self.at_once)
        contents = in_parallel(self.content, self.tiles, self.at_once)
        header = dataclasses.replace(self.header, post_filter=self.post_filter())
        return format.write(header, contents, self.picture.metadata)

    def post_filter(self) -> bytes:
        """What filters the tiles that are stored as latents, where that pays."""
        evidence = [found for found in map(self.evidence.get, self.blocks) if found]
        if not evidence:
            return b""
        return fitted(Evidence.sum(evidence), self.refiner.weight)


def tile_exponent(pixels: int) -> int:
    """Of a picture of so many pixels: its tiles have sides of ``64 << exponent``."""
    return 2 if pixels > SMALL_TILES_FROM else 3 if pixels > LARGE_TILES_UP_TO else format.MAX_TILE_EXPONENT


def encode_picture(
    engines: Engines,
    model: Model,
    picture: Picture,
    quality: int,
    *,
    fallback: bool,
    effort: int | None,
) -> tuple[bytes, np.ndarray]:
    """The bytes of a file at ``quality`` in hundredths, and the latents (M, h, w) that a decoder finds in it."""
    height, width = picture.pixels.shape[:2]
    header = format.Header(
        model.model_id,
        width,
        height,
        quality,
        picture.grey,
        picture.alpha is not None,
        tile_exponent=tile_exponent(height * width),
    )
    encoder = _Encoder(engines, model, picture, header, fallback, effort)
    data = encoder.encode()
    return data, encoder.latents
