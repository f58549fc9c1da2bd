"""A picture's post-filter in its file: coefficients in the model's space of filters, some 20 to 60 bytes."""

from __future__ import annotations

import numpy as np

from codec.errors import FormatError

EXPONENT_BITS = 4
MAX_COEFFICIENT = 63
"""Coefficients are integers of at most this magnitude, in units of ``2**-exponent``."""


def pack(exponent: int, coefficients: np.ndarray) -> bytes:
    """Four bits of ``exponent`` (0 to 15), then an Exp-Golomb code for each of ``coefficients`` (K,).

    Exp-Golomb codes are those of 0, 1, -1, 2, -2, ... in rising length. Zeros at the end are left out.
    """
    bits = f"{exponent:0{EXPONENT_BITS}b}"
    for value in np.trim_zeros(coefficients, "b").tolist():
        code = f"{2 * value if value > 0 else 1 - 2 * value:b}"
        bits += "0" * (len(code) - 1) + code
    length = -(-len(bits) // 8)
    return int(bits.ljust(8 * length, "0"), 2).to_bytes(length, "big")


def unpack(data: bytes, count: int) -> tuple[int, np.ndarray]:
    """The inverse of ``pack``: exponent and ``count`` coefficients, missing ones zero.

    Raises:
        FormatError: for more or larger coefficients than a filter of ``count`` has, or bytes that none needs.
    """
    bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}"
    exponent, remaining = int(bits[:EXPONENT_BITS], 2), bits[EXPONENT_BITS:]
    coefficients: list[int] = []
    while "1" in remaining:
        zeros = remaining.index("1")
        code, remaining = remaining[zeros : 2 * zeros + 1], remaining[2 * zeros + 1 :]
        magnitude, is_negative = divmod(int(code, 2), 2)
        if len(code) <= zeros or magnitude > MAX_COEFFICIENT or len(coefficients) == count:
            raise FormatError("the post-filter is not one of the model's")
        coefficients.append(-magnitude if is_negative else magnitude)
    if len(remaining) >= 8:
        raise FormatError("the post-filter is longer than it needs to be")
    return exponent, np.array(coefficients + [0] * (count - len(coefficients)))
