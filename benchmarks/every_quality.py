"""Every quality from 0 to 100 on every picture of a folder: ``python benchmarks/every_quality.py FOLDER [MODEL]``.

Prints the smallest rise of PSNR and of size from one quality to the next (a fall is negative), the largest difference
between a PSNR and the mean of its two neighbours, and the largest shift of a channel's mean, in levels.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from codec import Codec
from codec.evaluation.evaluate import find_pictures
from codec.metrics import psnr
from codec.networks.model import DEFAULT_MODEL


def measure(path: Path, model: str) -> np.ndarray:
    """Rows of (bits per pixel, PSNR in dB, largest shift of a channel's mean) for the qualities 0 to 100."""
    codec = Codec(model, threads=1)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    rows = []
    for quality in range(101):
        data = codec.encode(pixels, quality)
        decoded = np.asarray(codec.decode(data))
        shift = np.abs((decoded.astype(float) - pixels).mean((0, 1))).max()
        rows.append((8 * len(data) / pixels[..., 0].size, psnr(pixels, decoded), shift))
    return np.array(rows)


def main() -> None:
    """Print the extremes over all pictures."""
    paths = find_pictures(Path(sys.argv[1]))
    model = sys.argv[2] if len(sys.argv) > 2 else DEFAULT_MODEL
    with ProcessPoolExecutor() as pool:
        figures = np.stack(list(pool.map(measure, paths, [model] * len(paths))))
    for column, name in ((0, "bpp"), (1, "PSNR")):
        rises = np.diff(figures[..., column], axis=1)
        picture, quality = np.unravel_index(rises.argmin(), rises.shape)
        falls = int((rises < 0).sum())
        print(
            f"{name}: smallest rise {rises.min():+.4f} ({paths[picture].name}, to quality {quality + 1});"
            f" {falls} falls of {rises.size}"
        )
    decibels = figures[..., 1]
    bend = np.abs(decibels[:, 1:-1] - (decibels[:, :-2] + decibels[:, 2:]) / 2)
    print(f"PSNR: at most {bend.max():.3f} dB from the mean of its neighbours'")
    print(f"largest shift of a channel's mean: {figures[..., 2].max():.2f} levels")


if __name__ == "__main__":
    main()
