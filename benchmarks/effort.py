"""What each effort gives: ``python benchmarks/effort.py FOLDER [EFFORT ...]``.

Rates, PSNR and seconds of the middle 256x256 pixels of the first eight pictures, and the BD-rate against effort 1.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from codec import Codec
from codec.evaluation.bd_rate import bd_rate
from codec.evaluation.evaluate import find_pictures
from codec.metrics import psnr

QUALITIES = (10, 35, 60, 85)
"""Qualities, 0 to 100, at which a BD-rate is measured."""
SIDE, PICTURES = 256, 8
"""Side of the part of each picture that is coded, in pixels, and the number of pictures."""


def middle(path: Path) -> np.ndarray:
    """The middle of a picture, uint8 (H, W, 3)."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    top, left = ((side - min(side, SIDE)) // 2 for side in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE]


def measure(codec: Codec, pictures: list[np.ndarray], effort: int) -> tuple[list[tuple[float, float]], float]:
    """Mean (bpp, PSNR) at each quality, and the seconds to encode and decode one picture."""
    points, start = [], time.perf_counter()
    for quality in QUALITIES:
        rows = []
        for pixels in pictures:
            data = codec.encode(pixels, quality, fallback=False, effort=effort)
            rows.append((8 * len(data) / pixels[..., 0].size, psnr(pixels, np.asarray(codec.decode(data)))))
        points.append(tuple(np.mean(rows, axis=0)))
    return points, (time.perf_counter() - start) / len(QUALITIES) / len(pictures)


def main() -> None:
    """Print a line for each effort."""
    folder, *efforts = sys.argv[1:]
    pictures = [middle(path) for path in find_pictures(Path(folder))[:PICTURES]]
    codec = Codec()
    effort1, seconds = measure(codec, pictures, 1)
    print(f"effort 1  {seconds:6.2f} s  " + "  ".join(f"{b:.3f} bpp {p:.2f} dB" for b, p in effort1))
    for effort in map(int, efforts or ("2", "3", "4", "5")):
        points, seconds = measure(codec, pictures, effort)
        figures = "  ".join(f"{b:.3f} bpp {p:.2f} dB" for b, p in points)
        print(f"effort {effort}  {seconds:6.2f} s  {figures}  BD-rate {bd_rate(effort1, points):+.2f} %", flush=True)


if __name__ == "__main__":
    main()
