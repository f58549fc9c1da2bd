"""What a tile holds: a byte for the method, alpha where the picture has it, then the coded colours."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from codec.classical import decode_webp
from codec.errors import FormatError

LATENTS, WEBP, ONE_COLOUR, HIDING_LATENTS = range(4)
"""Methods: latents come as they are, or hide signs (see ``hidden_signs``)."""
WITH_LATENTS = (LATENTS, HIDING_LATENTS)
_LENGTH = struct.Struct("<I")


class TileContent(NamedTuple):
    """A tile taken apart; ``alpha`` is a WebP file, or empty where the tile is opaque."""

    method: int
    colours: bytes
    alpha: bytes = b""

    @property
    def has_latents(self) -> bool:
        """Whether the colours are a stream of latents."""
        return self.method in WITH_LATENTS

    @property
    def hides_signs(self) -> bool:
        """Whether they are one that hides signs."""
        return self.method == HIDING_LATENTS

    def pack(self, has_alpha: bool) -> bytes:
        """The bytes that a file holds; ``has_alpha`` says whether the picture has an alpha channel."""
        alpha = _LENGTH.pack(len(self.alpha)) + self.alpha if has_alpha else b""
        return bytes([self.method]) + alpha + self.colours

    def alpha_plane(self, height: int, width: int) -> np.ndarray:
        """Alpha, uint8 (height, width). Raises FormatError for damage."""
        if not self.alpha:
            return np.full((height, width), 255, np.uint8)
        return decode_webp(self.alpha, height, width)[..., 0]

    def classical_pixels(self, height: int, width: int) -> np.ndarray:
        """Pixels that broadcast to (height, width, 3), of a method without latents. Raises FormatError for damage."""
        if self.method == WEBP:
            return decode_webp(self.colours, height, width)
        if len(self.colours) != 3:
            raise FormatError("a tile of one colour does not hold three bytes")
        return np.frombuffer(self.colours, np.uint8)


def unpack(content: bytes, has_alpha: bool) -> TileContent:
    """Take a tile's bytes apart. Raises FormatError for a method or a length that version 1 does not have."""
    method, start = content[0], 1
    if method > HIDING_LATENTS:
        raise FormatError(f"a tile is coded by method {method}, which this version does not know")
    alpha = b""
    if has_alpha:
        if len(content) < 5:
            raise FormatError("a tile ends inside its alpha")
        (length,) = _LENGTH.unpack_from(content, 1)
        start += 4 + length
        alpha = content[5:start]
        if len(alpha) != length:
            raise FormatError("a tile ends inside its alpha")
    return TileContent(method, content[start:], alpha)
