"""The library: ``Codec`` encodes pictures to bytes and decodes bytes to pictures."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, cast

import numpy as np
from PIL import Image

from codec.container import nic
from codec.decoding.decoder import MAX_PIXELS, Decoder
from codec.encoding.encoder import encode_picture
from codec.encoding.rate_control import fit_bytes, fit_psnr
from codec.entropy.constants import MAX_HUNDREDTHS
from codec.errors import ArgumentError, CodecError, LimitError, ModelNotFound
from codec.metrics import psnr
from codec.networks.engine import EnginePool
from codec.networks.model import Model, find_model, load_model
from codec.pictures.files import open_picture
from codec.pictures.planes import Picture, as_picture
from codec.pictures.transparent import fill_transparent

DEFAULT_QUALITY = 50.0
Region = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are excluded."""
PictureSource = Image.Image | np.ndarray | str | os.PathLike[str]
"""A picture: a Pillow image, an array (H, W, 3) or (H, W) of uint8, or the path of a picture file."""
FileSource = bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes]
"""A .nic file: its bytes, its path, or a file opened for reading, from its position on."""


class Codec:
    """A loaded model, for repeated encoding and decoding.

    Args:
        model: a model, the name of an installed one, or the path of a ``.nicm`` file. None decodes with the installed
            model that a file names, and encodes with the default one.
        threads: threads to compute with; 0 takes one for each core.
        optimize: whether ONNX Runtime may optimise the graphs; latents are the same either way.

    Raises:
        ModelNotFound: when there is no such model.
        ModelError: when its file is not valid.
    """

    def __init__(self, model: Model | str | None = None, threads: int = 0, optimize: bool = True) -> None:
        self._threads, self._optimize = threads or os.cpu_count() or 1, optimize
        self._is_model_given = model is not None
        self._default = model if model is None or isinstance(model, Model) else load_model(model)
        self._models: dict[bytes, Model] = {}
        self._engines: dict[bytes, EnginePool] = {}

    @property
    def model(self) -> Model:
        """The model that ``encode`` uses."""
        if self._default is None:
            self._default = load_model()
        return self._default

    def encode(
        self,
        image: PictureSource,
        quality: float = DEFAULT_QUALITY,
        *,
        strip: bool = False,
        fallback: bool = True,
        effort: int | None = None,
    ) -> bytes:
        """A picture to the bytes of a .nic file.

        Args:
            quality: from 0 (smallest) to 100 (best), in steps of 0.01.
            strip: leave the metadata out, and apply the orientation and colour profile that it said.
            fallback: store tiles that WebP codes better (screenshots, drawings) as WebP.
            effort: from 1 to 5. Above 1 the latents are refined for the picture, which saves bits and takes time. None
                is 2 with models that allow it, 1 with others.

        Raises:
            ArgumentError: for a quality, an effort, or an array that is out of range, or metadata of over 64 MiB.
            ModelError: for an effort above 1 with a model that does not allow it.
            PictureError: for a picture file that cannot be read, or values beyond 16 bits.
            LimitError: for a picture with a side over 65535 pixels, or of more than 2**28 pixels.
            EngineError: when ONNX Runtime is missing or fails.
        """
        return self.encode_with_latents(image, quality, strip=strip, fallback=fallback, effort=effort)[0]

    def encode_to_fit(
        self,
        image: PictureSource,
        *,
        max_bytes: int | None = None,
        min_psnr: float | None = None,
        strip: bool = False,
        fallback: bool = True,
        effort: int | None = None,
    ) -> bytes:
        """As ``encode``, at the quality that just satisfies a limit: ``max_bytes``, or ``min_psnr`` in dB (RGB).

        Raises:
            LimitError: when no quality satisfies it; the message says what can be reached.
            ArgumentError: when not exactly one limit is given, or the PSNR is not a number.
        """
        if (max_bytes is None) == (min_psnr is None):
            raise ArgumentError("give max_bytes or min_psnr")
        if min_psnr is not None and math.isnan(min_psnr):
            raise ArgumentError(f"a PSNR of {min_psnr} dB: not a number")
        picture = _prepare(image, strip)

        def encode(hundredths: int, fallback: bool = False) -> bytes:
            return self._encode_picture(picture, hundredths, fallback, effort)[0]

        def measure(data: bytes) -> float:
            return psnr(picture.pixels, self._decoder(nic.reader(data)).decode().pixels)

        def is_within_limit(data: bytes) -> bool:
            return len(data) <= max_bytes if max_bytes is not None else measure(data) >= cast("float", min_psnr)

        try:
            if max_bytes is None:
                hundredths = fit_psnr(lambda hundredths: measure(encode(hundredths)), cast("float", min_psnr))
            else:
                hundredths = fit_bytes(encode, max_bytes)
        except LimitError:
            if not fallback:
                raise
            # Where the network cannot get there, WebP may: drawings without loss in few bytes.
            data = encode(MAX_HUNDREDTHS if max_bytes is None else 0, fallback)
            if is_within_limit(data):
                return data
            raise
        data = encode(hundredths, fallback)
        # Beside a tile stored as WebP, others lose latents that their pixels depend on: rarely, that costs the PSNR.
        return data if not fallback or is_within_limit(data) else encode(hundredths)

    def encode_with_latents(
        self,
        image: PictureSource,
        quality: float = DEFAULT_QUALITY,
        *,
        strip: bool = False,
        fallback: bool = True,
        effort: int | None = None,
    ) -> tuple[bytes, np.ndarray]:
        """As ``encode``; also the latents that a decoder will find, as ``decode_latents`` returns them."""
        if not 0 <= quality <= 100:
            raise ArgumentError(f"quality {quality:g} is not from 0 to 100")
        return self._encode_picture(_prepare(image, strip), round(quality * 100), fallback, effort)

    def decode(self, data: FileSource, *, region: Region | None = None) -> Image.Image:
        """A .nic file to a picture (mode RGB, RGBA, L or LA).

        Args:
            region: decode only these pixels, from the tiles that they need, and without the metadata.

        Raises:
            FormatError: for damage anywhere in what is read.
            ArgumentError: for a region that is not inside the picture.
            LimitError: for a picture of more than 2**28 pixels.
            ModelNotFound: when the file's model is not installed, or is not the model given.
            ModelError: for a model whose graphs do not compute what they should.
            EngineError: when ONNX Runtime is missing or fails.
        """
        with _opened(data) as file:
            return self._decoder(nic.Reader(file), region).decode().image()

    def salvage(self, data: FileSource) -> tuple[Image.Image, list[int]]:
        """What a damaged file still holds, and the indices of the tiles that are lost.

        Lost tiles get the mean colour of the others; damaged metadata is left out.

        Raises:
            FormatError: when the header itself is damaged.
            ModelNotFound: when the file's model is not installed.
        """
        with _opened(data) as file:
            decoder = self._decoder(nic.Reader(file, salvage=True))
            return decoder.decode().image(), decoder.damaged

    def decode_latents(self, data: bytes) -> tuple[nic.Header, np.ndarray]:
        """The header of a file and its latents (M, ceil(H/16), ceil(W/16)), in 16ths of a step. Exact.

        Tiles that are not stored as latents have zeros.
        """
        reader = nic.reader(data)
        return reader.header, self._decoder(reader).decode_latents()

    def _encode_picture(
        self, picture: Picture, hundredths: int, fallback: bool, effort: int | None
    ) -> tuple[bytes, np.ndarray]:
        engines = self._engines_of(self.model)
        return encode_picture(engines, self.model, picture, hundredths, fallback=fallback, effort=effort)

    def _decoder(self, reader: nic.Reader, region: Region | None = None) -> Decoder:
        model = self._model_of(reader.header)
        return Decoder(reader, self._engines_of(model), model, region)

    def _model_of(self, header: nic.Header) -> Model:
        if self._default is not None and self._default.model_id == header.model_id:
            return self._default
        if self._is_model_given:
            given = self.model.model_id.hex()
            raise ModelNotFound(f"the file needs model {header.model_id.hex()}; the model given is {given}")
        if header.model_id not in self._models:
            self._models[header.model_id] = find_model(header.model_id)
        return self._models[header.model_id]

    def _engines_of(self, model: Model) -> EnginePool:
        if model.model_id not in self._engines:
            self._engines[model.model_id] = EnginePool(model, self._threads, self._optimize)
        return self._engines[model.model_id]


def _open_path(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise CodecError(f"{path}: {error.strerror}") from error


@contextlib.contextmanager
def _opened(source: FileSource) -> Iterator[IO[bytes]]:
    """A file that can seek, whose content begins at position 0. Raises CodecError when it cannot be opened."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)):
        with _open_path(Path(source)) as file, _opened(file) as opened:
            yield opened
    elif source.seekable() and source.tell() == 0:
        yield source
    else:  # a pipe, or a part of a larger file
        yield io.BytesIO(source.read())


def _prepare(image: PictureSource, strip: bool) -> Picture:
    """The planes that are encoded. Raises LimitError when the picture is too large."""
    if isinstance(image, (str, os.PathLike)):
        image = open_picture(Path(image))
    picture = as_picture(image, strip)
    height, width = picture.pixels.shape[:2]
    if max(height, width) > nic.MAX_SIDE:
        raise LimitError(f"a picture of {width}x{height} pixels: sides go up to {nic.MAX_SIDE}")
    if height * width > MAX_PIXELS:
        raise LimitError(f"a picture of {width}x{height} pixels: readers take {MAX_PIXELS}")
    return fill_transparent(picture)


@lru_cache(maxsize=4)
def shared_codec(model: str | None = None) -> Codec:
    """The codec that ``encode``, ``decode`` and the Pillow plugin use: its model is loaded once."""
    return Codec(model)


def encode(image: PictureSource, quality: float = DEFAULT_QUALITY, model: str | None = None) -> bytes:
    """Encode one picture; see ``Codec.encode``."""
    return shared_codec(model).encode(image, quality)


def decode(data: FileSource, model: str | None = None) -> Image.Image:
    """Decode one file; see ``Codec.decode``."""
    return shared_codec(model).decode(data)
