"""Seconds from the shell and back: ``python benchmarks/whole_process.py [PICTURE]``.

Medians over several runs of whole processes: start, encode, encode to a byte limit, decode.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7
"""Runs of each command, of which the median is printed."""
CODEC = (sys.executable, "-m", "codec_cli", "--quiet")
"""The start of each command line."""
SAMPLE = Path(__file__).parents[1] / "samples" / "coffee.png"
"""The picture that is measured by default."""


def seconds(*arguments: str) -> float:
    """The median time of ``codec`` with ``arguments``."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([*CODEC, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Print a line for each command."""
    picture = sys.argv[1] if len(sys.argv) > 1 else str(SAMPLE)
    with tempfile.TemporaryDirectory() as folder:
        nic, png = os.path.join(folder, "a.nic"), os.path.join(folder, "a.png")
        subprocess.run([*CODEC, "encode", picture, "-o", nic], check=True)
        plain = os.path.getsize(nic)
        subprocess.run([*CODEC, "encode", picture, "-q", "0", "-o", nic, "--overwrite"], check=True)
        limit = str((plain + os.path.getsize(nic)) // 2)
        print(f"start          {seconds('--version'):.2f} s")
        print(f"info           {seconds('info', nic):.2f} s")
        print(f"encode         {seconds('encode', picture, '-o', nic, '--overwrite'):.2f} s")
        print(f"no fallback    {seconds('encode', picture, '-o', nic, '--overwrite', '--no-fallback'):.2f} s")
        print(f"to fewer bytes {seconds('encode', picture, '-o', nic, '--overwrite', '--max-bytes', limit):.2f} s")
        print(f"decode         {seconds('decode', nic, '-o', png, '--overwrite'):.2f} s")


if __name__ == "__main__":
    main()
