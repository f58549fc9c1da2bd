"""Tiles that are stored without latents: as a WebP file, or as one colour; and alpha, which is always WebP."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from codec.container.tile import WEBP, TileContent
from codec.errors import FormatError


def decode_webp(data: bytes, height: int, width: int) -> np.ndarray:
    """Pixels (height, width, 3) uint8. Raises FormatError for anything but a WebP file of that size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("WEBP",)) as picture:
                if picture.size != (width, height) or getattr(picture, "n_frames", 1) != 1:
                    raise FormatError("a tile stored as WebP has another size")
                return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise FormatError("a tile stored as WebP cannot be decoded") from error


def stored_pixels(content: TileContent, height: int, width: int) -> np.ndarray:
    """Pixels that broadcast to (height, width, 3), of a tile without latents. Raises FormatError for damage."""
    if content.method == WEBP:
        return decode_webp(content.colours, height, width)
    return np.frombuffer(content.colours, np.uint8)


def alpha_plane(content: TileContent, height: int, width: int) -> np.ndarray:
    """The tile's alpha, uint8 (height, width). Raises FormatError for damage."""
    if not content.alpha:
        return np.full((height, width), 255, np.uint8)
    return decode_webp(content.alpha, height, width)[..., 0]
