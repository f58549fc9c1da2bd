"""A picture through all of it: pixels to a file's bytes, and back."""

from __future__ import annotations

import numpy as np
from PIL import Image

from codec import format
from codec.engine import Engine
from codec.errors import CodecError, FormatError, LimitError
from codec.latents import decode_latents, encode_latents
from codec.model_file import Model, find_model, load_model
from codec.pictures import as_pixels
from codec.tables import MEAN_SHIFT
from codec.tiles import run_tiled, tile_slices

CELL = 16
"""Pixels on a side of a latent's cell."""
DEFAULT_QUALITY = 50.0
MAX_PIXELS = 1 << 28


class Codec:
    """A loaded model, for repeated encoding and decoding.

    Args:
        model: a model, the name of an installed one, or the path of a ``.nicm`` file. None decodes with
            whatever installed model a file names, and encodes with the default.
        threads: threads to compute with; 0 takes one for each core.

    Raises:
        ModelNotFound, FormatError: when the model cannot be loaded.
    """

    def __init__(self, model: Model | str | None = None, threads: int = 0, optimize: bool = True) -> None:
        self._threads, self._optimize = threads, optimize
        self._given = model is not None
        self._engines: dict[bytes, tuple[Model, Engine]] = {}
        self._default: Model | None = model if isinstance(model, Model) else None
        if self._given and self._default is None:
            self._default = load_model(model)

    @property
    def model(self) -> Model:
        """The model that ``encode`` uses."""
        if self._default is None:
            self._default = load_model()
        return self._default

    def _engine(self, model: Model) -> Engine:
        if model.model_id not in self._engines:
            self._engines[model.model_id] = (model, Engine(model, self._threads, self._optimize))
        return self._engines[model.model_id][1]

    def _model_of(self, header: format.Header) -> Model:
        if header.model_id in self._engines:
            return self._engines[header.model_id][0]
        if self._default is not None and self._default.model_id == header.model_id:
            return self._default
        if self._given:
            given = self._default.model_id.hex()
            raise CodecError(f"the file needs model {header.model_id.hex()}; the model given is {given}")
        return find_model(header.model_id)

    def encode(self, image: Image.Image | np.ndarray, quality: float = DEFAULT_QUALITY) -> bytes:
        """A picture, or an array (H, W, 3) or (H, W) of uint8, to the bytes of a .nic file.

        ``quality`` is from 0 (smallest) to 100 (best), in steps of 0.01.

        Raises:
            FormatError: for a quality or an array that is out of range.
            LimitError: for a picture with a side over 65535 pixels.
        """
        return self.encode_with_latents(image, quality)[0]

    def encode_with_latents(
        self, image: Image.Image | np.ndarray, quality: float = DEFAULT_QUALITY
    ) -> tuple[bytes, np.ndarray]:
        """As ``encode``; also the latents that a decoder will find, as ``decode_latents`` gives them."""
        pixels, grey = as_pixels(image)
        height, width = pixels.shape[:2]
        if max(height, width) > format.MAX_SIDE:
            raise LimitError(f"a picture of {width}x{height} pixels: sides go up to {format.MAX_SIDE}")
        if not 0 <= quality <= 100:
            raise FormatError(f"quality {quality:g} is not from 0 to 100")
        header = format.Header(self.model.model_id, width, height, round(quality * 100), grey)
        y = self._analyse(pixels, header)
        decoded = np.empty_like(y)
        streams = []
        for rows, columns in tile_slices(*y.shape[1:], header.tile_size // CELL):
            engine = self._engine(self.model)
            stream, part = encode_latents(engine, self.model, y[:, rows, columns], header.quality)
            streams.append(stream)
            decoded[:, rows, columns] = part
        return format.write(header, streams), decoded

    def decode_latents(self, data: bytes) -> tuple[format.Header, np.ndarray]:
        """The header of a file and its latents (M, ceil(H/16), ceil(W/16)), in 16ths of a step. Exact."""
        header, streams = format.read(data)
        if header.width * header.height > MAX_PIXELS:
            raise LimitError(f"a picture of {header.width}x{header.height} pixels: this reader takes {MAX_PIXELS}")
        model = self._model_of(header)
        shape = -(-header.height // CELL), -(-header.width // CELL)
        decoded = np.empty((model.metadata["latents"], *shape), np.float32)
        tiles = tile_slices(*shape, header.tile_size // CELL)
        for stream, (rows, columns) in zip(streams, tiles, strict=True):
            tall, wide = rows.stop - rows.start, columns.stop - columns.start
            part = decode_latents(self._engine(model), model, stream, header.quality, tall, wide)
            decoded[:, rows, columns] = part
        return header, decoded

    def decode(self, data: bytes) -> Image.Image:
        """The bytes of a .nic file to a picture (mode RGB or L).

        Raises:
            FormatError: for damage anywhere in the file.
            ModelNotFound: when the file's model is not installed.
        """
        header, decoded = self.decode_latents(data)
        model = self._model_of(header)
        engine = self._engine(model)
        quality = np.array([header.quality / format.MAX_QUALITY], np.float32)
        cells = decoded.shape[1:]
        pixels = np.empty((3, cells[0] * CELL, cells[1] * CELL), np.uint8)

        def synthesise(y_hat: np.ndarray) -> np.ndarray:
            x_hat = engine.run("synthesis", y_hat=y_hat[None] * 2.0**-MEAN_SHIFT, quality=quality)[0][0]
            return np.nan_to_num(x_hat * 255 + 0.5).clip(0, 255).astype(np.uint8)

        halo, size = model.metadata["synthesis_halo"], header.tile_size // CELL
        run_tiled(synthesise, decoded, pixels, cells=cells, size=size, halo=halo)
        found = pixels[:, : header.height, : header.width].transpose(1, 2, 0)
        image = Image.fromarray(np.ascontiguousarray(found))
        return image.convert("L") if header.grey else image

    def _analyse(self, pixels: np.ndarray, header: format.Header) -> np.ndarray:
        """Pixels (H, W, 3) uint8 to latents (M, h, w) in quantisation steps."""
        cells = -(-header.height // CELL), -(-header.width // CELL)
        missing = cells[0] * CELL - header.height, cells[1] * CELL - header.width
        padded = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge").transpose(2, 0, 1)
        quality = np.array([header.quality / format.MAX_QUALITY], np.float32)
        y = np.empty((self.model.metadata["latents"], *cells), np.float32)
        engine = self._engine(self.model)

        def analyse(part: np.ndarray) -> np.ndarray:
            return engine.run("analysis", x=part[None].astype(np.float32) / 255, quality=quality)[0][0]

        halo, size = self.model.metadata["analysis_halo"], header.tile_size // CELL
        run_tiled(analyse, padded, y, cells=cells, size=size, halo=halo)
        return y


def encode(image: Image.Image | np.ndarray, quality: float = DEFAULT_QUALITY, model: str | None = None) -> bytes:
    """Encode one picture; see ``Codec.encode``."""
    return Codec(model).encode(image, quality)


def decode(data: bytes, model: str | None = None) -> Image.Image:
    """Decode one file; see ``Codec.decode``."""
    return Codec(model).decode(data)
