"""Registers .nic with Pillow: after ``import codec.pillow``, ``Image.open("a.nic")`` and ``im.save("a.nic")`` work.

``Image.open`` reads the header and the metadata; the pixels are decoded when they are first asked for. Damage is
an OSError, as for Pillow's own formats. ``save`` takes ``quality``, ``max_bytes`` or ``min_psnr``, ``effort``, and
``icc_profile``, ``exif`` and ``xmp`` in place of the image's own (None leaves them out).
"""

from __future__ import annotations

import io
from typing import IO, Any, cast

from PIL import Image, ImageFile

from codec.api import DEFAULT_QUALITY, shared_codec
from codec.container import nic
from codec.errors import CodecError
from codec.pictures.planes import INFO_KEYS, pillow_info

FORMAT = "NIC"


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
        file = getattr(self, "fp", None)  # an unpickled image has pixels, and no file
        if not self._is_decoded and file is not None:
            try:
                file.seek(0)  # the header was read when the image was opened
                pixels = shared_codec().decode(file)
            except CodecError as error:
                raise OSError(str(error)) from error
            if self._exclusive_fp:
                file.close()
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
                image.info[key] = _as_bytes(options[key])
    limits = {key: options[key] for key in ("max_bytes", "min_psnr") if options.get(key) is not None}
    try:
        if limits:
            data = shared_codec().encode_to_fit(image, effort=options.get("effort"), **limits)
        else:
            quality = float(options.get("quality", DEFAULT_QUALITY))
            data = shared_codec().encode(image, quality, effort=options.get("effort"))
    except CodecError as error:
        raise OSError(str(error)) from error
    file.write(data)


def _as_bytes(metadata: Any) -> bytes:
    """Metadata in any form that Pillow's own formats accept."""
    if isinstance(metadata, Image.Exif):
        return metadata.tobytes()
    return metadata.encode() if isinstance(metadata, str) else bytes(metadata)


Image.register_open(FORMAT, NicImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".nic")
Image.register_mime(FORMAT, "image/x-nic")
