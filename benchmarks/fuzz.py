"""Damaged and forged files: ``python benchmarks/fuzz.py [COUNT]``.

Every file must give a picture or one CodecError, within two seconds and without gigabytes. Half of the files
have correct checksums around wrong content, so that what lies behind the checks is reached as well.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from codec import Codec, CodecError, format

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
LIMIT_SECONDS = 2.0


def damaged(rng: np.random.Generator, data: bytes) -> bytes:
    """``data`` with a few bits flipped, a piece cut out, doubled, or overwritten."""
    found = bytearray(data)
    start, end = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    match int(rng.integers(5)):
        case 0:
            for _ in range(int(rng.integers(1, 4))):
                found[int(rng.integers(len(found)))] ^= 1 << int(rng.integers(8))
        case 1:
            del found[start:]
        case 2:
            del found[start:end]
        case 3:
            found[start:start] = found[start:end]
        case 4:
            found[start:end] = rng.bytes(end - start)
    return bytes(found)


def forged(rng: np.random.Generator, data: bytes) -> bytes:
    """A file with correct checksums whose header, metadata or tiles are wrong."""
    reader = format.reader(data)
    header = reader.header
    tiles = [reader.tile(index) for index in range(header.tiles)]
    metadata = reader.metadata()
    match int(rng.integers(4)):
        case 0:
            side = [int(v) for v in rng.integers(1, 300, 2)]
            header = dataclasses.replace(header, width=side[0], height=side[1])
        case 1:
            header = dataclasses.replace(
                header,
                quality=int(rng.integers(0, 10001)),
                grey=bool(rng.integers(2)),
                alpha=bool(rng.integers(2)),
                tile_exponent=int(rng.integers(5)),
            )
        case 2:
            metadata = {"exif": rng.bytes(9)}
        case 3:
            place = int(rng.integers(len(tiles)))
            tiles[place] = damaged(rng, tiles[place])
    return format.write(header, tiles, metadata)


def decode_anything(codec: Codec, data: bytes) -> str:
    """What became of a file: "picture" or "error". Raises AssertionError for an error of more than one line."""
    try:
        codec.decode(data)
    except CodecError as error:
        assert "\n" not in str(error)
        return "error"
    return "picture"


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    codec = Codec(str(GOLDEN / "tiny.nicm"), threads=1)
    originals = [path.read_bytes() for path in sorted(GOLDEN.glob("*.nic")) if path.stem != "tiles"]
    results: Counter[str] = Counter()
    slowest = 0.0
    for seed in range(count):
        rng = np.random.default_rng(seed)
        original = originals[int(rng.integers(len(originals)))]
        data = damaged(rng, original) if seed % 2 else forged(rng, original)
        start = time.perf_counter()
        try:
            results[decode_anything(codec, data)] += 1
        except Exception as error:
            raise SystemExit(f"seed {seed}: {error!r}") from error
        slowest = max(slowest, time.perf_counter() - start)
        if slowest > LIMIT_SECONDS:
            raise SystemExit(f"seed {seed}: {slowest:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count} files: {dict(results)}; slowest {slowest:.3f} s; peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
