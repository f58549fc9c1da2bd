"""Registers .nic with Pillow: after ``import codec.pillow``, ``Image.open("a.nic")`` and ``im.save("a.nic")`` work.

``Image.open`` reads the header and the metadata; the pixels are decoded when they are first asked for. Damage is
an OSError, as for Pillow's own formats. ``save`` takes ``quality``, ``max_bytes`` or ``min_psnr``, ``effort``, and
``icc_profile``, ``exif`` and ``xmp`` in place of the image's own (None leaves them out).
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import BinaryIO

from PIL import Image, ImageFile

from codec import format
from codec.codec import DEFAULT_QUALITY, Codec
from codec.errors import CodecError
from codec.pictures import Picture

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
            reader = format.Reader(self.fp)
            self.info.update(Picture.info_of(reader.metadata()))
        except CodecError as error:
            raise OSError(str(error)) from error
        header = reader.header
        self._size = header.width, header.height
        self._mode = ("L" if header.grey else "RGB") + "A" * header.alpha

    def load(self):
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
    return prefix.startswith(format.MAGIC)


def _save(image: Image.Image, file: BinaryIO, _name: str | bytes) -> None:
    wishes = image.encoderinfo
    image = image.copy()
    for key in ("icc_profile", "exif", "xmp"):
        if key in wishes:
            image.info.pop(key, None)
            if wishes[key]:
                image.info[key] = wishes[key].tobytes() if isinstance(wishes[key], Image.Exif) else wishes[key]
    limits = {key: wishes[key] for key in ("max_bytes", "min_psnr") if wishes.get(key) is not None}
    try:
        if limits:
            data = _codec().encode_to_fit(image, effort=wishes.get("effort"), **limits)
        else:
            quality = wishes.get("quality", DEFAULT_QUALITY)
            data = _codec().encode(image, quality, effort=wishes.get("effort"))
    except CodecError as error:
        raise OSError(str(error)) from error
    file.write(data)


Image.register_open(FORMAT, NicImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".nic")
Image.register_mime(FORMAT, "image/x-nic")
