"""Pictures unlike any in training, against WebP: ``python benchmarks/out_of_distribution.py``.

Synthetic screenshots, line art, pixel art, gradients, noise and one colour: bytes and PSNR with and without the WebP
fallback, and the best PSNR of WebP in as many bytes, less the overhead of our format.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

from codec import Codec
from codec.container import nic
from codec.container.tile import unpack
from codec.decoding.webp import decode_webp
from codec.metrics import psnr

OVERHEAD = 31
"""Bytes of a file of one tile beside the tile's content: header 26, its CRC-32 4, method 1."""
METHODS = ("latents", "WebP", "one colour", "latents")
"""Names of the methods that a tile is stored by, in the order of their numbers (see ``codec.container.tile``)."""


def screenshot(side: int) -> np.ndarray:
    """Dark text on white under a coloured bar."""
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, side, 11), fill=(40, 90, 160))
    for line in range(1, side // 13):
        draw.text((4, 13 * line), "The quick brown fox 0123 jumps over the lazy dog", fill=(20, 20, 20))
    return np.asarray(image)


def line_art(side: int) -> np.ndarray:
    """Thin dark strokes and circles on paper."""
    image = Image.new("RGB", (side, side), (250, 248, 240))
    draw = ImageDraw.Draw(image)
    rng = np.random.default_rng(1)
    for _ in range(25):
        draw.line(rng.integers(0, side, 4).tolist(), fill=(10, 10, 30), width=2)
        x, y = rng.integers(0, side, 2).tolist()
        draw.ellipse((x, y, x + side // 8, y + side // 8), outline=(120, 0, 0))
    return np.asarray(image)


def pixel_art(side: int) -> np.ndarray:
    """Squares of 8 pixels in six colours."""
    rng = np.random.default_rng(2)
    palette = rng.integers(0, 256, (6, 3), np.uint8)
    return np.kron(palette[rng.integers(0, 6, (side // 8, side // 8))], np.ones((8, 8, 1), np.uint8))


def gradient(side: int) -> np.ndarray:
    """Two colours that change smoothly, one across and one down."""
    ramp = np.linspace(0, 255, side)
    planes = [ramp[None].repeat(side, 0), ramp[:, None].repeat(side, 1), np.full((side, side), 90)]
    return np.stack(planes, 2).astype(np.uint8)


def noise(side: int) -> np.ndarray:
    """Independent random values."""
    return np.random.default_rng(3).integers(0, 256, (side, side, 3), np.uint8)


def one_colour(side: int) -> np.ndarray:
    """One colour."""
    return np.full((side, side, 3), (12, 80, 200), np.uint8)


PICTURES = (screenshot, line_art, pixel_art, gradient, noise, one_colour)
"""Functions that draw a picture of a given side: uint8 (side, side, 3)."""


def best_webp(pixels: np.ndarray, max_bytes: int) -> float:
    """The highest PSNR of WebP, lossy or lossless, in at most ``max_bytes``; NaN when nothing fits."""
    best = float("nan")
    for settings in [{"lossless": True}, *({"quality": q} for q in range(0, 101, 5))]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", method=4, **settings)
        if len(buffer.getvalue()) <= max_bytes:
            best = np.fmax(best, psnr(pixels, decode_webp(buffer.getvalue(), *pixels.shape[:2])))
    return float(best)


def main() -> None:
    """Print a line for each picture and quality."""
    codec = Codec()
    print(f"{'picture':12} {'q':>3} {'stored as':>10} {'bytes':>8} {'dB':>6} {'no fallback':>18} {'WebP dB':>8}")
    for draw in PICTURES:
        pixels = draw(512)
        for quality in (20, 50, 80):
            data = codec.encode(pixels, quality)
            without = codec.encode(pixels, quality, fallback=False)
            method = METHODS[unpack(nic.reader(data).tile(0), False).method]
            with_psnr, without_psnr = (psnr(pixels, np.asarray(codec.decode(d))) for d in (data, without))
            print(
                f"{draw.__name__:12} {quality:3} {method:>10} {len(data):8} {with_psnr:6.2f} {len(without):8} B"
                f" {without_psnr:6.2f} {best_webp(pixels, len(data) - OVERHEAD):8.2f}"
            )


if __name__ == "__main__":
    main()
