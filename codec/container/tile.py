"""A tile's content: one byte for the method, alpha where the picture has it, then the coded colours."""

from __future__ import annotations

import struct
from typing import NamedTuple

from codec.errors import FormatError

LATENTS, WEBP, ONE_COLOUR, LATENTS_HIDING_SIGNS = range(4)
"""Methods: a stream of latents, a WebP file, three bytes of colour, a stream of latents with hidden signs."""
METHODS_WITH_LATENTS = (LATENTS, LATENTS_HIDING_SIGNS)
_LENGTH = struct.Struct("<I")


class TileContent(NamedTuple):
    """A tile taken apart. ``colours`` is what the method says; ``alpha`` is a WebP file, empty where opaque."""

    method: int
    colours: bytes
    alpha: bytes = b""

    @property
    def has_latents(self) -> bool:
        """Whether the colours are a stream of latents."""
        return self.method in METHODS_WITH_LATENTS

    @property
    def hides_signs(self) -> bool:
        """Whether that stream hides signs."""
        return self.method == LATENTS_HIDING_SIGNS


def pack(content: TileContent, has_alpha: bool) -> bytes:
    """The bytes of a tile in a file whose header says ``has_alpha``."""
    alpha = _LENGTH.pack(len(content.alpha)) + content.alpha if has_alpha else b""
    return bytes([content.method]) + alpha + content.colours


def unpack(data: bytes, has_alpha: bool) -> TileContent:
    """The inverse of ``pack``, for at least one byte.

    Raises:
        FormatError: for a method or a length that version 1 of the format does not have.
    """
    method, start = data[0], 1
    if method > LATENTS_HIDING_SIGNS:
        raise FormatError(f"a tile is coded by method {method}, which this version does not know")
    alpha = b""
    if has_alpha:
        if len(data) < 1 + _LENGTH.size:
            raise FormatError("a tile ends inside its alpha")
        (length,) = _LENGTH.unpack_from(data, 1)
        start = 1 + _LENGTH.size + length
        alpha = data[1 + _LENGTH.size : start]
        if len(alpha) != length:
            raise FormatError("a tile ends inside its alpha")
    content = TileContent(method, data[start:], alpha)
    if method == ONE_COLOUR and len(content.colours) != 3:
        raise FormatError("a tile of one colour does not hold three bytes")
    return content
