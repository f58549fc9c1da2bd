"""Tiles as WebP files: alpha always, colours where WebP codes them better than the network.

Learned transforms fail on what they never saw (pixel art, text, noise, test patterns).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from codec.decoding.webp import decode_webp

_SAMPLE_SIZE, _FEW_COLOURS, _DRAWN_SHARE = 4096, 8, 0.5
"""A tile looks drawn where at least half of a sample of its pixels have one of its eight commonest colours, or lie on
the plane through three neighbours. Lossless WebP is tried on these tiles only: on photographs it costs time."""
_ROW_STRIDE = 4
"""The test for planes takes one row in so many."""
_METHOD = 4
"""WebP's effort, 0 to 6."""
_TYPICAL_BPP = (0.14, 0.32, 0.5, 0.69, 0.88, 1.14, 1.87, 2.66, 4.0)
_TYPICAL_QUALITY = (0, 10, 30, 50, 70, 80, 90, 95, 100)
"""Bits per pixel of typical photographs at WebP's qualities: where the search begins."""
_BAND_ROWS = 32
"""The first trial codes every fourth band of so many rows, to learn what this tile costs."""


def _webp(pixels: np.ndarray, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", method=_METHOD, **settings)
    return buffer.getvalue()


def encode_lossless(pixels: np.ndarray) -> bytes:
    """A WebP file that decodes to exactly these pixels, uint8 (H, W, 3) or (H, W)."""
    return _webp(np.ascontiguousarray(pixels), lossless=True, quality=50, exact=True)


def mse(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error of two arrays of levels in 0..255."""
    return float(np.square(a.astype(np.float32) - b).mean())


def _looks_drawn(pixels: np.ndarray) -> bool:
    stride = max(1, pixels[..., 0].size // _SAMPLE_SIZE)
    sample = pixels.reshape(-1, 3)[::stride].astype(np.int32) @ (1, 1 << 8, 1 << 16)
    commonest = np.sort(np.unique(sample, return_counts=True)[1])[-_FEW_COLOURS:]
    if commonest.sum() >= _DRAWN_SHARE * sample.size:
        return True
    above, row = (rows[::_ROW_STRIDE].astype(np.int16) for rows in (pixels[:-1], pixels[1:]))
    error = np.abs(row[:, 1:] - (row[:, :-1] + above[:, 1:] - above[:, :-1])).max(axis=2)
    return np.count_nonzero(error <= 1) >= _DRAWN_SHARE * max(1, error.size)


def _likely_quality(bpp: float) -> int:
    return round(float(np.interp(bpp, _TYPICAL_BPP, _TYPICAL_QUALITY)))


def _cost(pixels: np.ndarray, quality: int) -> float:
    """WebP's bytes for a quarter of ``pixels``, taken in bands, relative to a typical photograph's."""
    bands = pixels[np.arange(len(pixels)) // _BAND_ROWS % 4 == 0]
    typical = float(np.interp(quality, _TYPICAL_QUALITY, _TYPICAL_BPP))
    return len(_webp(bands, quality=quality)) * 8 / bands[..., 0].size / typical


def better_webp(pixels: np.ndarray, visible: np.ndarray, max_bytes: int, max_mse: Callable[[], float]) -> bytes | None:
    """A WebP file of under ``max_bytes`` bytes with a mean squared error of at most ``max_mse()``, or None.

    Lossless where the tile looks drawn; else the first quality found that satisfies both limits. The search gives up as
    soon as WebP cannot get there. ``max_mse`` is asked late: another thread may still be decoding.

    Errors count where pixels are ``visible`` (H, W); the others become black, which costs WebP the least.
    """
    if not visible.all():
        pixels = np.where(visible[..., None], pixels, np.uint8(0))
    if _looks_drawn(pixels):
        data = encode_lossless(pixels)
        if len(data) < max_bytes:
            return data
    bpp = 8 * max_bytes / pixels[..., 0].size
    low, high = 0, 100
    relative_cost = _cost(pixels, _likely_quality(bpp))
    while low <= high:
        quality = int(np.clip(_likely_quality(bpp / relative_cost), low, high))
        data = _webp(pixels, quality=quality)
        error = mse(decode_webp(data, *pixels.shape[:2])[visible], pixels[visible])
        fits = len(data) < max_bytes
        if fits and error <= max_mse():
            return data
        # No picture gains more than 6 dB from twice the bytes.
        gain = 6 * max(0.0, math.log2(max_bytes / len(data)))
        if 10 * math.log10(max(error, 1e-9)) - gain > 10 * math.log10(max(max_mse(), 1e-9)):
            return None
        low, high = (quality + 1, high) if fits else (low, quality - 1)
        relative_cost = len(data) * 8 / pixels[..., 0].size / float(np.interp(quality, _TYPICAL_QUALITY, _TYPICAL_BPP))
    return None
