"""Tiles stored by WebP: alpha always, colours where WebP does better than the network.

Learned transforms fail on what they never saw (pixel art, text, noise, test patterns).
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image

from codec.errors import FormatError

_SAMPLE, _FEW_COLOURS, _DRAWN_SHARE = 4096, 8, 0.5
"""A tile looks drawn where at least half of a sample of its pixels have one of its eight commonest colours, or
continue the plane through their neighbours. Lossless WebP is tried on these: on photographs it only costs time."""
_ROWS = 4
"""One row in so many is looked at."""
_METHOD = 4
_TYPICAL_BPP = (0.14, 0.32, 0.5, 0.69, 0.88, 1.14, 1.87, 2.66, 4.0)
_TYPICAL_QUALITY = (0, 10, 30, 50, 70, 80, 90, 95, 100)
"""What photographs cost at WebP's qualities: where the search begins."""
_BAND = 32
"""Rows of a band of the part that is coded first, to learn what this tile costs."""


def _webp(pixels: np.ndarray, **settings) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", method=_METHOD, **settings)
    return buffer.getvalue()


def encode_lossless(pixels: np.ndarray) -> bytes:
    """Pixels, uint8 (H, W, 3) or (H, W), to a WebP file that gives them back."""
    return _webp(np.ascontiguousarray(pixels), lossless=True, quality=50, exact=True)


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


def mse(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error of two arrays of levels in 0..255."""
    return float(np.square(a.astype(np.float32) - b).mean())


def _looks_drawn(pixels: np.ndarray) -> bool:
    stride = max(1, pixels[..., 0].size // _SAMPLE)
    sample = pixels.reshape(-1, 3)[::stride].astype(np.int32) @ (1, 1 << 8, 1 << 16)
    commonest = np.sort(np.unique(sample, return_counts=True)[1])[-_FEW_COLOURS:]
    if commonest.sum() >= _DRAWN_SHARE * sample.size:
        return True
    above, row = (rows[::_ROWS].astype(np.int16) for rows in (pixels[:-1], pixels[1:]))
    error = np.abs(row[:, 1:] - (row[:, :-1] + above[:, 1:] - above[:, :-1])).max(axis=2)
    return np.count_nonzero(error <= 1) >= _DRAWN_SHARE * max(1, error.size)


def _likely_quality(bpp: float) -> int:
    return round(float(np.interp(bpp, _TYPICAL_BPP, _TYPICAL_QUALITY)))


def _cost(pixels: np.ndarray, quality: int) -> float:
    """How many times a typical photograph's bytes WebP needs for a quarter of ``pixels``, taken in bands."""
    bands = pixels[np.arange(len(pixels)) // _BAND % 4 == 0]
    typical = float(np.interp(quality, _TYPICAL_QUALITY, _TYPICAL_BPP))
    return len(_webp(bands, quality=quality)) * 8 / bands[..., 0].size / typical


def better_webp(pixels: np.ndarray, limit: int, wanted: Callable[[], float]) -> bytes | None:
    """A WebP file of under ``limit`` bytes with a mean squared error of at most ``wanted()``, or None.

    Lossless where the tile looks drawn; else the best quality that fits, found by a search that gives up as
    soon as WebP cannot get there. ``wanted`` is asked late: another thread may still be decoding.
    """
    if _looks_drawn(pixels):
        data = encode_lossless(pixels)
        if len(data) < limit:
            return data
    bpp = 8 * limit / pixels[..., 0].size
    low, high = 0, 100
    share = _cost(pixels, _likely_quality(bpp))
    while low <= high:
        quality = int(np.clip(_likely_quality(bpp / share), low, high))
        data = _webp(pixels, quality=quality)
        found = mse(decode_webp(data, *pixels.shape[:2]), pixels)
        fits = len(data) < limit
        if fits and found <= wanted():
            return data
        # No picture gains more than 6 dB from twice the bytes; fewer of them may lose nothing (noise).
        gain = 6 * max(0.0, math.log2(limit / len(data)))
        if 10 * math.log10(max(found, 1e-9)) - gain > 10 * math.log10(max(wanted(), 1e-9)):
            return None
        low, high = (quality + 1, high) if fits else (low, quality - 1)
        # This picture costs so many times what is typical: the next trial is near the limit.
        share = len(data) * 8 / pixels[..., 0].size / float(np.interp(quality, _TYPICAL_QUALITY, _TYPICAL_BPP))
    return None
