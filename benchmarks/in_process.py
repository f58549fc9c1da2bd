"""Seconds to encode and decode inside one process, the model loaded: ``python benchmarks/in_process.py [PICTURE]``.

Medians over several runs, for one thread and for as many as there are cores, at three qualities.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from codec import Codec

RUNS = 9
"""Runs of each measurement, of which the median is printed."""
SAMPLE = Path(__file__).parents[1] / "samples" / "coffee.png"
"""The picture that is measured by default."""


def seconds(work: Callable[[], object]) -> float:
    """The median time of ``work``, after one run that loads the model."""
    work()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Print a line for each number of threads and quality."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    for threads in sorted({1, os.cpu_count() or 1}):
        codec = Codec(threads=threads)
        for quality in (20, 50, 80):
            data = codec.encode(pixels, quality)
            encode = seconds(lambda codec=codec, quality=quality: codec.encode(pixels, quality))
            no_fallback = seconds(lambda codec=codec, quality=quality: codec.encode(pixels, quality, fallback=False))
            decode = seconds(lambda codec=codec, data=data: codec.decode(data))
            print(
                f"{threads} threads, quality {quality}: encode {encode:.3f} s ({no_fallback:.3f} s without fallback),"
                f" decode {decode:.3f} s, {len(data)} bytes"
            )


if __name__ == "__main__":
    main()
