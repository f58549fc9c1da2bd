"""Speed and efficiency of the entropy coder on Gaussian symbols: ``python benchmarks/entropy_coder.py``."""

import time

import numpy as np

from codec.entropy.constants import SCALE_LEVELS, SCALE_MAX, SCALE_MIN
from codec.entropy.range_coder import RangeDecoder, RangeEncoder, table_from_probabilities

SYMBOLS = 3_000_000
"""Number of symbols that are coded."""


def main() -> None:
    """Print speed and size."""
    rng = np.random.default_rng(0)
    scales = np.geomspace(SCALE_MIN, SCALE_MAX, SCALE_LEVELS)
    tables = []
    for scale in scales:
        radius = max(1, int(4.5 * scale))
        p = np.exp(-0.5 * (np.arange(-radius, radius + 1) / scale) ** 2) + 1e-12
        tables.append(table_from_probabilities(np.append(p, 1e-6 * p.sum())))
    # As in pictures, most latents have small scales.
    indices = np.minimum(SCALE_LEVELS - 1, rng.exponential(12, SYMBOLS).astype(np.int64))
    values = np.rint(rng.normal(size=SYMBOLS) * scales[indices]).astype(np.int32)
    start = time.perf_counter()
    encoder = RangeEncoder()
    encoder.encode(values, indices, tables)
    data = encoder.finish()
    encoded = time.perf_counter()
    decoded = RangeDecoder(data).decode(indices, tables)
    end = time.perf_counter()
    if not np.array_equal(decoded, values):
        raise SystemExit("decoded symbols differ from the encoded ones")
    ideal = sum(tables[i].code_lengths(values[indices == i]).sum() for i in range(SCALE_LEVELS)) / 8
    print(f"encode {SYMBOLS / (encoded - start) / 1e6:.1f} M symbols/s, decode {SYMBOLS / (end - encoded) / 1e6:.1f}")
    print(f"{len(data)} bytes, {100 * (len(data) / ideal - 1):+.3f} % of the ideal {ideal:.0f}")


if __name__ == "__main__":
    main()
