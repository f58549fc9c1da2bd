"""PNG files as people have them: what Pillow refuses or forgets in ancillary chunks is mended before it reads them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from codec.errors import PictureError

MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_METADATA = 1 << 26
"""Largest decompressed chunk in bytes."""
_GREY, _RGB = 0, 2
"""Colour types."""
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
_RAW_EXIF = (b"Raw profile type exif", b"Raw profile type APP1")
"""Keywords under which ImageMagick writes EXIF, in hexadecimal digits."""


def mend(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A PNG file that Pillow reads, and metadata for ``Image.info`` that it would not find.

    Left out are ancillary chunks whose checksum does not match, and text other than XMP, of which Pillow takes no more
    than 1 MiB. The colour profile is taken out as well, for the same reason.

    Raises:
        PictureError: for a profile that cannot be decompressed to at most ``MAX_METADATA`` bytes.
    """
    parts, info = [MAGIC], {}
    for kind, content, whole, is_sound in _chunks(data):
        is_ancillary = bool(kind[0] & 0x20)
        if is_ancillary and not is_sound:
            continue
        if kind == b"iCCP":
            _, _, packed = content.partition(b"\0")
            info["icc_profile"] = _decompressed(packed[1:])
        elif kind in _TEXT and not content.startswith(_XMP):
            keyword, _, text = content.partition(b"\0")
            if keyword in _RAW_EXIF and (exif := _raw_exif(_decompressed(text[1:]) if kind == b"zTXt" else text)):
                info["exif"] = exif
        else:
            parts.append(whole)
    return b"".join(parts), info


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes, bool]]:
    """Kind, content, and all bytes of each chunk; and whether its checksum matches. Stops where the file ends."""
    start = len(MAGIC)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        content = data[start + 8 : end - 4]
        is_sound = end <= len(data) and zlib.crc32(kind + content) == struct.unpack_from(">I", data, end - 4)[0]
        yield kind, content, data[start:end], is_sound
        start = end


def _decompressed(packed: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        content = decompressor.decompress(packed, MAX_METADATA)
    except zlib.error as error:
        raise PictureError("a damaged PNG: metadata that cannot be decompressed") from error
    if decompressor.unconsumed_tail:
        raise PictureError(f"a PNG with metadata of over {MAX_METADATA >> 20} MiB")
    return content


def _raw_exif(text: bytes) -> bytes | None:
    """EXIF from ImageMagick's form: a name, the length in decimal, and hexadecimal digits in lines."""
    try:
        _, length, *digits = text.split()
        exif = bytes.fromhex(b"".join(digits).decode("ascii"))
        return exif if len(exif) == int(length) else None
    except ValueError:
        return None


def mend_transparency(data: bytes, info: dict[Any, Any]) -> None:
    """Scale a transparent grey of 1, 2 or 4 bits as Pillow scales the pixels, to 8.

    Raises:
        PictureError: for a transparent colour of 16 bits a channel, which Pillow compares after it has cut the pixels.
    """
    depth, colour = data[24], data[25]
    if "transparency" not in info:
        return
    if colour == _GREY and depth < 8:
        info["transparency"] = info["transparency"] * 255 // ((1 << depth) - 1)
    if colour == _RGB and depth == 16:
        raise PictureError("a PNG of 16 bits a channel with a transparent colour is not supported")
