"""Time and memory for large pictures: ``python benchmarks/large_picture.py [MEGAPIXELS] [--model FILE]``.

Encodes and decodes a synthetic picture, each in a process of its own, with one thread and with two; then a region of
512 x 512, for which a picture must have at least 3.1 megapixels. Memory is the peak of the process less the picture
itself (3 bytes a pixel).
"""

from __future__ import annotations

import argparse
import io
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from codec import Codec
from codec.container import nic


class CountedFile(io.FileIO):
    """A file opened for reading that counts the bytes that are read."""

    bytes_read = 0

    def read(self, size: int = -1) -> bytes:
        """As ``FileIO.read``."""
        content = super().read(size)
        self.bytes_read += len(content)
        return content


def made_picture(megapixels: float) -> np.ndarray:
    """Pixels (H, W, 3) uint8, 4:3: waves with noise, made row by row to need no more memory than the picture."""
    height = int((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = height * 4 // 3
    pixels = np.empty((height, width, 3), np.uint8)
    rng = np.random.default_rng(0)
    x = np.arange(width, dtype=np.float32)[:, None] / np.array([23, 31, 47], np.float32)
    for y in range(height):
        row = 128 + 60 * np.sin(x + y / 29) + 40 * np.sin(x / 9 + y / 171) + rng.normal(0, 5, (width, 3))
        pixels[y] = row.clip(0, 255)
    return pixels


def peak_mebibytes() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(task: str, folder: Path, threads: int, model: str | None) -> None:
    """One measurement, in this process."""
    codec = Codec(model, threads=threads)
    file = folder / "picture.nic"
    if task == "encode":
        pixels = np.load(folder / "pixels.npy")
        size = pixels.nbytes
        start = time.perf_counter()
        data = codec.encode(pixels)
        seconds = time.perf_counter() - start
        file.write_bytes(data)
        result = f"{8 * len(data) / (size / 3):.3f} bpp"
    else:
        with CountedFile(file) as opened:
            header = nic.Reader(opened).header
            size = 3 * header.width * header.height
            region = (1000, 1000, 1512, 1512) if task == "region" else None
            codec.decode(opened, region=(0, 0, 1, 1))  # loads the model
            opened.bytes_read = 0
            start = time.perf_counter()
            codec.decode(opened, region=region)
            seconds = time.perf_counter() - start
            result = f"{100 * opened.bytes_read / file.stat().st_size:.1f} % of the bytes read"
    memory = peak_mebibytes() - size / 2**20
    print(f"{task:7} {threads} threads  {seconds:7.2f} s  {memory:6.0f} MiB beside the picture  {result}")


def main() -> None:
    """Print a line for each task and number of threads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("megapixels", type=float, nargs="?", default=12)
    parser.add_argument("--model")
    parser.add_argument("--task", nargs=3, help="(internal) one measurement: task, folder, threads")
    options = parser.parse_args()
    if options.task:
        work(options.task[0], Path(options.task[1]), int(options.task[2]), options.model)
        return
    with tempfile.TemporaryDirectory() as folder:
        pixels = made_picture(options.megapixels)
        np.save(Path(folder) / "pixels.npy", pixels)
        print(f"{pixels.shape[1]} x {pixels.shape[0]} pixels, {pixels.nbytes / 2**20:.0f} MiB")
        del pixels
        for task, threads in (("encode", 1), ("encode", 2), ("decode", 1), ("decode", 2), ("region", 2)):
            command = [sys.executable, __file__, "--task", task, folder, str(threads)]
            subprocess.run(command + (["--model", options.model] if options.model else []), check=True)


if __name__ == "__main__":
    main()
