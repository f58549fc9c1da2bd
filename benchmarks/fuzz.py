"""Damaged and forged files: ``python benchmarks/fuzz.py [COUNT]``.

Every file must give a picture or one CodecError, within two seconds and without gigabytes of memory. Half of the files
have correct checksums around wrong content, so that the code behind the checks is reached as well.
"""

from __future__ import annotations

import dataclasses
import io
import resource
import sys
import time
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from codec import Codec, CodecError
from codec.container import nic
from codec.networks.model import read_model

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
"""The folder of the files that are damaged."""
LIMIT_SECONDS = 2.0
"""A file that takes longer ends the run as a failure."""


def damaged(rng: np.random.Generator, data: bytes) -> bytes:
    """``data`` with a few bits flipped, a piece cut out, doubled, or overwritten."""
    mutated = bytearray(data)
    start, end = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    match int(rng.integers(5)):
        case 0:
            for _ in range(int(rng.integers(1, 4))):
                mutated[int(rng.integers(len(mutated)))] ^= 1 << int(rng.integers(8))
        case 1:
            del mutated[start:]
        case 2:
            del mutated[start:end]
        case 3:
            mutated[start:start] = mutated[start:end]
        case 4:
            mutated[start:end] = rng.bytes(end - start)
    return bytes(mutated)


def forged(rng: np.random.Generator, data: bytes) -> bytes:
    """A file with correct checksums whose header, metadata or tiles are wrong."""
    reader = nic.reader(data)
    header = reader.header
    tiles = [reader.tile(index) for index in range(header.tiles)]
    metadata = reader.metadata()
    match int(rng.integers(5)):
        case 0:
            width, height = rng.integers(1, 300, 2).tolist()
            header = dataclasses.replace(header, width=width, height=height)
        case 1:
            header = dataclasses.replace(
                header,
                hundredths=int(rng.integers(0, 10001)),
                grey=bool(rng.integers(2)),
                alpha=bool(rng.integers(2)),
                tile_exponent=int(rng.integers(5)),
            )
        case 2:
            metadata = {"exif": rng.bytes(9)}
        case 3:
            index = int(rng.integers(len(tiles)))
            tiles[index] = damaged(rng, tiles[index])
        case 4:
            header = dataclasses.replace(header, post_filter=rng.bytes(int(rng.integers(20))))
    return nic.write(header, tiles, metadata)


def with_header(data: bytes, **changes: object) -> bytes:
    """A file with a changed header and correct checksums."""
    reader = nic.reader(data)
    header = dataclasses.replace(reader.header, **changes)
    return nic.write(header, [reader.tile(index) for index in range(header.tiles)], reader.metadata())


def forged_model(rng: np.random.Generator, data: bytes) -> bytes:
    """A model file whose zip is sound, but one of whose members is damaged."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = list(members)[int(rng.integers(len(members)))]
    members[name] = damaged(rng, members[name])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    return buffer.getvalue()


def use_any_model(data: bytes) -> str:
    """Use a model file: "works" or "error"."""
    try:
        codec = Codec(read_model(data), threads=1)
        codec.decode(codec.encode(np.arange(48 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 48, 3)))
    except CodecError as error:
        assert "\n" not in str(error)
        return "error"
    return "works"


def decode_anything(codec: Codec, data: bytes) -> str:
    """Decode a file: "picture" or "error". Raises AssertionError for an error of more than one line."""
    try:
        codec.decode(data)
    except CodecError as error:
        assert "\n" not in str(error)
        return "error"
    return "picture"


def main() -> None:
    """Run the seeds from 0 up to a count."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    model = (GOLDEN / "filtered.nicm").read_bytes()
    codec = Codec(read_model(model), threads=1)
    paths = [path for path in sorted(GOLDEN.glob("*.nic")) if path.stem not in ("tiles", "vector")]
    # Files of another model are decoded with this one, and give other pictures.
    originals = [with_header(path.read_bytes(), model_id=codec.model.model_id) for path in paths]
    warnings.simplefilter("error")
    results: Counter[str] = Counter()
    slowest = 0.0
    for seed in range(count):
        rng = np.random.default_rng(seed)
        original = originals[int(rng.integers(len(originals)))]
        start = time.perf_counter()
        try:
            if seed % 50 == 0:
                results["model " + use_any_model(forged_model(rng, model))] += 1
            elif seed % 2:
                results["damaged " + decode_anything(codec, damaged(rng, original))] += 1
            else:
                results["forged " + decode_anything(codec, forged(rng, original))] += 1
        except Exception as error:
            raise SystemExit(f"seed {seed}: {error!r}") from error
        slowest = max(slowest, time.perf_counter() - start)
        if slowest > LIMIT_SECONDS:
            raise SystemExit(f"seed {seed}: {slowest:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count} files: {dict(results)}; slowest {slowest:.3f} s; peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
