"""The library's front: a loaded model that encodes pictures to bytes and decodes bytes to pictures."""

from __future__ import annotations

import io
import math
import os
from typing import BinaryIO

import numpy as np
from PIL import Image

from codec import format
from codec.decoder import MAX_PIXELS, Decoder
from codec.encoder import encode_picture
from codec.engine import Engines
from codec.errors import CodecError, FormatError, LimitError
from codec.hidden_colours import without_hidden_colours
from codec.metrics import psnr
from codec.model_file import Model, find_model, load_model
from codec.pictures import Picture, as_picture
from codec.rate_control import fit_bytes, fit_psnr

DEFAULT_QUALITY = 50.0


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
        self._threads, self._optimize = threads or os.cpu_count() or 1, optimize
        self._given = model is not None
        self._engines: dict[bytes, Engines] = {}
        self._models: dict[bytes, Model] = {}
        self._default: Model | None = model if isinstance(model, Model) else None
        if self._given and self._default is None:
            self._default = load_model(model)

    @property
    def model(self) -> Model:
        """The model that ``encode`` uses."""
        if self._default is None:
            self._default = load_model()
        return self._default

    def _engines_of(self, model: Model) -> Engines:
        if model.model_id not in self._engines:
            self._engines[model.model_id] = Engines(model, self._threads, self._optimize)
        return self._engines[model.model_id]

    def _model_of(self, header: format.Header) -> Model:
        if self._default is not None and self._default.model_id == header.model_id:
            return self._default
        if self._given:
            given = self._default.model_id.hex()
            raise CodecError(f"the file needs model {header.model_id.hex()}; the model given is {given}")
        if header.model_id not in self._models:
            self._models[header.model_id] = find_model(header.model_id)
        return self._models[header.model_id]

    def encode(
        self,
        image: Image.Image | np.ndarray,
        quality: float = DEFAULT_QUALITY,
        *,
        strip: bool = False,
        fallback: bool = True,
        effort: int | None = None,
    ) -> bytes:
        """A picture, or an array (H, W, 3) or (H, W) of uint8, to the bytes of a .nic file.

        Args:
            quality: from 0 (smallest) to 100 (best), in steps of 0.01.
            strip: leave the metadata out, and make orientation and colours what it said.
            fallback: store the tiles that WebP codes better (screenshots, drawings) as WebP.
            effort: from 1 to 9. Above 1 latents are fitted to the picture, which saves bits and takes time; None is
                2 with models that hold what it needs, 1 with others.

        Raises:
            CodecError: for an effort above 1 with a model that cannot do it.
            FormatError: for a quality, an effort, or an array that is out of range.
            LimitError: for a picture with a side over 65535 pixels, or of more than 2**28 pixels.
        """
        return self.encode_with_latents(image, quality, strip=strip, fallback=fallback, effort=effort)[0]

    def encode_to_fit(
        self,
        image: Image.Image | np.ndarray,
        *,
        max_bytes: int | None = None,
        min_psnr: float | None = None,
        strip: bool = False,
        fallback: bool = True,
        effort: int | None = None,
    ) -> bytes:
        """As ``encode``, at the quality that just fits a limit: ``max_bytes``, or else ``min_psnr`` in dB (RGB).

        Raises:
            LimitError: when no quality fits; the message says what can be reached.
            FormatError: for a PSNR that is not a number.
            ValueError: when not exactly one limit is given.
        """
        if (max_bytes is None) == (min_psnr is None):
            raise ValueError("give max_bytes or min_psnr")
        if min_psnr is not None and math.isnan(min_psnr):
            raise FormatError(f"a PSNR of {min_psnr} dB: not a number")
        picture = _checked(image, strip)

        def encode(quality: int, fallback: bool = False) -> bytes:
            return self._encode_picture(picture, quality, fallback, effort)[0]

        def measure(data: bytes) -> float:
            return psnr(picture.pixels, self._decoder(format.reader(data)).decode().pixels)

        def fits(data: bytes) -> bool:
            return measure(data) >= min_psnr if max_bytes is None else len(data) <= max_bytes

        try:
            if max_bytes is None:
                quality = fit_psnr(lambda quality: measure(encode(quality)), min_psnr)
            else:
                quality = fit_bytes(encode, max_bytes)
        except LimitError:
            # Where the network cannot get there, WebP may: on drawings, without loss in few bytes.
            data = encode(format.MAX_QUALITY if max_bytes is None else 0, fallback)
            if fits(data):
                return data
            raise
        data = encode(quality, fallback)
        # Beside a tile stored as WebP, others lose the latents they leaned on: rarely, that costs the PSNR.
        return data if not fallback or fits(data) else encode(quality)

    def encode_with_latents(
        self,
        image: Image.Image | np.ndarray,
        quality: float = DEFAULT_QUALITY,
        *,
        strip: bool = False,
        fallback: bool = True,
        effort: int | None = None,
    ) -> tuple[bytes, np.ndarray]:
        """As ``encode``; also the latents that a decoder will find, as ``decode_latents`` gives them."""
        if not 0 <= quality <= 100:
            raise FormatError(f"quality {quality:g} is not from 0 to 100")
        return self._encode_picture(_checked(image, strip), round(quality * 100), fallback, effort)

    def _encode_picture(
        self, picture: Picture, quality: int, fallback: bool, effort: int | None
    ) -> tuple[bytes, np.ndarray]:
        engines = self._engines_of(self.model)
        return encode_picture(engines, self.model, picture, quality, fallback=fallback, effort=effort)

    def _decoder(self, reader: format.Reader, region: tuple[int, int, int, int] | None = None) -> Decoder:
        header = reader.header
        model = self._model_of(header)
        return Decoder(reader, self._engines_of(model), model, region)

    def decode_latents(self, data: bytes) -> tuple[format.Header, np.ndarray]:
        """The header of a file and its latents (M, ceil(H/16), ceil(W/16)), in 16ths of a step. Exact.

        Tiles that are not stored as latents have zeros.
        """
        reader = format.reader(data)
        return reader.header, self._decoder(reader).decode_tiles()

    def decode(self, data: bytes | BinaryIO, *, region: tuple[int, int, int, int] | None = None) -> Image.Image:
        """The bytes of a .nic file, or a file opened for reading, to a picture (mode RGB, RGBA, L or LA).

        Args:
            region: left, top, right, bottom in pixels: only these are decoded, from the tiles that they need,
                and without the metadata.

        Raises:
            FormatError: for damage anywhere in what is read, or a region that is not inside the picture.
            ModelNotFound: when the file's model is not installed.
        """
        reader = format.Reader(io.BytesIO(data) if isinstance(data, bytes) else data)
        return self._decoder(reader, region).decode().image()

    def salvage(self, data: bytes | BinaryIO) -> tuple[Image.Image, list[int]]:
        """What a damaged file still holds, and the indices of the tiles that are lost.

        Lost tiles have the mean colour of the others; damaged metadata is left out.

        Raises:
            FormatError: when the header itself is damaged.
            ModelNotFound: when the file's model is not installed.
        """
        reader = format.Reader(io.BytesIO(data) if isinstance(data, bytes) else data, salvage=True)
        decoder = self._decoder(reader)
        return decoder.decode().image(), decoder.damaged


def _checked(image: Image.Image | np.ndarray, strip: bool) -> Picture:
    """What is encoded of ``image``. Raises LimitError when it is too large."""
    picture = as_picture(image, strip)
    height, width = picture.pixels.shape[:2]
    if max(height, width) > format.MAX_SIDE:
        raise LimitError(f"a picture of {width}x{height} pixels: sides go up to {format.MAX_SIDE}")
    if height * width > MAX_PIXELS:
        raise LimitError(f"a picture of {width}x{height} pixels: readers take {MAX_PIXELS}")
    return without_hidden_colours(picture)


def encode(image: Image.Image | np.ndarray, quality: float = DEFAULT_QUALITY, model: str | None = None) -> bytes:
    """Encode one picture; see ``Codec.encode``."""
    return Codec(model).encode(image, quality)


def decode(data: bytes, model: str | None = None) -> Image.Image:
    """Decode one file; see ``Codec.decode``."""
    return Codec(model).decode(data)
