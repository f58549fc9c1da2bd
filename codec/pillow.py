"""Registers .nic with Pillow: after ``import codec.pillow``, ``Image.open("a.nic")`` and ``im.save("a.nic")`` work.

``Image.open`` reads the header and the metadata; the pixels are decoded when they are first asked for. Damage is
an OSError, as for Pillow's own formats. ``save`` takes ``quality``, ``max_bytes`` or ``min_psnr``, ``effort``, and
``icc_profile``, ``exif`` and ``xmp`` in place of the image's own (None leaves them out).
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import IO, Any, cast

from PIL import Image, ImageFile

from codec.api import DEFAULT_QUALITY, Codec
from codec.container import nic
from codec.errors import CodecError
from codec.pictures.planes import INFO_KEYS, pillow_info

FORMAT = "NIC"


@lru_cache(maxsize=1)
def _codec() -> Codec:
    return Codec()


class NicImageFile(ImageFile.ImageFile):
    """A .nic file opened by Pillow."""

    format = FORMAT
    format_description = "Neural image codec"
    _is_decoded = False

    def _open(self) -> None:
        try:
            reader = nic.Reader(cast("IO[bytes]", self.fp))
            self.info.update(pillow_info(reader.metadata()))
        except CodecError as error:
            raise OSError(str(error)) from error
        header = reader.header
        self._size = header.width, header.height
        self._mode = ("L" if header.grey else "RGB") + "A" * header.alpha

    def load(self) -> Any:
        """Decode the pixels, once. Raises OSError for damage."""
        if not self._is_decoded and self.fp is not None:
            try:
                pixels = _codec().decode(self.fp)
            except CodecError as error:
                raise OSError(str(error)) from error
            if self._exclusive_fp:
                self.fp.close()
            self.fp = io.BytesIO(pixels.tobytes())
            self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
            self._is_decoded = True
        return super().load()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(nic.MAGIC)


def _save(image: Image.Image, file: IO[bytes], _name: str | bytes) -> None:
    options = image.encoderinfo
    image = image.copy()
    for key in INFO_KEYS.values():
        if key in options:
            image.info.pop(key, None)
            if options[key]:
                image.info[key] = options[key].tobytes() if isinstance(options[key], Image.Exif) else options[key]
    limits = {key: options[key] for key in ("max_bytes", "min_psnr") if options.get(key) is not None}
    try:
        if limits:
            data = _codec().encode_to_fit(image, effort=options.get("effort"), **limits)
        else:
            quality = options.get("quality", DEFAULT_QUALITY)
            data = _codec().encode(image, quality, effort=options.get("effort"))
    except CodecError as error:
        raise OSError(str(error)) from error
    file.write(data)


Image.register_open(FORMAT, NicImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".nic")
Image.register_mime(FORMAT, "image/x-nic")
