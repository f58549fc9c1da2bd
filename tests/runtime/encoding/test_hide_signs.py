"""Hiding signs: round trips, what it saves, where the file format finds the signs, and which files have them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import Codec
from codec.container.nic import reader
from codec.container.tile import unpack
from codec.encoding.hide_signs import StepSymbols, encode_symbols, hide_signs
from codec.encoding.symbol_costs import symbol_costs
from codec.entropy.constants import SCALE_LEVELS
from codec.entropy.range_coder import VALUE_LIMIT, RangeDecoder, RangeEncoder
from codec.errors import FormatError
from conftest import made_picture


@pytest.fixture(scope="module")
def model(filtered):
    return filtered.model


def made_step(seed, count, level, spread=6):
    """Scale indices (N,) around ``level``, and residuals (N,) in quantisation steps that fit them."""
    rng = np.random.default_rng(seed)
    scale_indices = rng.normal(level, spread, count).round().clip(0, SCALE_LEVELS - 1).astype(np.int64)
    return scale_indices, rng.laplace(0, 0.11 * 1.13**scale_indices)


def code(model, scale_indices, residuals):
    """The stream with hidden signs, the symbols before hiding, and those that the stream holds."""
    encoder, symbols = RangeEncoder(), np.rint(residuals).clip(1 - VALUE_LIMIT, VALUE_LIMIT - 1).astype(np.int32)
    before = symbols.copy()
    signs = model.hidden_signs
    tile = StepSymbols(symbols, symbols - residuals, scale_indices, signs.layout(scale_indices))
    (coded,) = hide_signs([tile], symbol_costs(model))
    encode_symbols(encoder, signs, tile, coded)
    assert np.array_equal(symbols, before)
    return encoder.finish(), symbols, coded


@given(st.integers(0, 2**32), st.integers(0, 3000), st.integers(0, 63), st.sampled_from([1, 1000]))
def test_decoding_gives_the_coded_symbols_which_differ_by_at_most_one(filtered, seed, count, level, factor):
    model = filtered.model
    scale_indices, residuals = made_step(seed, count, level)
    data, symbols, coded = code(model, scale_indices, residuals * factor)
    decoder = RangeDecoder(data)
    assert np.array_equal(model.hidden_signs.decode(decoder, scale_indices), coded)
    decoder.finish()
    assert (np.abs(coded - symbols) <= 1).all() and (np.abs(coded) < VALUE_LIMIT).all()


@pytest.mark.parametrize("level", [8, 16, 30])
def test_hiding_saves_more_than_its_errors_cost(model, level):
    scale_indices, residuals = made_step(1, 60_000, level)
    data, symbols, coded = code(model, scale_indices, residuals)
    plain = RangeEncoder()
    plain.encode(symbols, scale_indices, model.scale_tables)
    saved_bits = 8 * (len(plain.finish()) - len(data))
    hidden_signs = np.count_nonzero(coded[model.hidden_signs.layout(scale_indices).signless])
    assert saved_bits > 0.8 * hidden_signs > 500
    # 9 bits for a squared error of 1: what a bit weighs where a step of 1 is the best.
    added_error = 9 * (np.square(coded - residuals).sum() - np.square(symbols - residuals).sum())
    assert added_error < 0.7 * saved_bits


def test_signs_are_where_the_file_format_says(model):
    scale_indices, residuals = made_step(3, 4000, 22)
    _, _, symbols = code(model, scale_indices, residuals)
    nonzero = [65536 - int(table.frequencies[table.radius]) for table in model.scale_tables]
    capacities = [7 * 65536 * f // (655360 + 12 * f) if f >= 409 else 0 for f in nonzero]
    carriers = [index for index in range(len(scale_indices)) if capacities[scale_indices[index]]]
    carriers.sort(key=lambda index: scale_indices[index])
    lanes = min(max(sum(capacities[scale_indices[index]] for index in carriers) // (48 * 65536), 1), 256)
    carriers = carriers[len(carriers) % lanes :]
    rows = [carriers[start : start + lanes] for start in range(0, len(carriers), lanes)]
    total_capacity, total = [], 0
    for row in rows:
        total += capacities[scale_indices[row[0]]]
        total_capacity.append(total)
    count = total // 65536 - 1
    assert lanes > 1 and count > 20
    ends = [
        next(t + 1 for t, capacity in enumerate(total_capacity) if capacity >= total - 65536 * (count - 1 - g))
        for g in range(count)
    ]
    for lane in range(lanes):
        bits = [0] * (count + 8)
        for t, row in enumerate(rows):
            first = sum(end <= t for end in ends)
            column = 129 | (2654435761 * (t + 1) % 2**32) >> 24
            for i in range(8):
                bits[first + i] ^= column >> i & int(symbols[row[lane]]) & 1
        for g in range(count):
            symbol = symbols[rows[len(rows) - count + g][lane]]
            assert symbol == 0 or bits[g] == (symbol < 0)


@pytest.mark.parametrize("scale_indices", [np.zeros(0, np.int64), np.full(3, 40), np.zeros(5000, np.int64)])
def test_symbols_stay_as_they_are_where_nothing_is_hidden(model, scale_indices):
    data, symbols, coded = code(model, scale_indices, np.zeros(len(scale_indices)))
    assert np.array_equal(symbols, coded)
    assert np.array_equal(model.hidden_signs.decode(RangeDecoder(data), scale_indices), coded)


def test_files_hide_signs_from_effort_two_on(filtered):
    pixels = made_picture(160, 128)
    hides_signs = {}
    for effort in (1, 2, 3):
        data, latents = filtered.encode_with_latents(pixels, 60, fallback=False, effort=effort)
        hides_signs[effort] = unpack(reader(data).tile(0), False).hides_signs
        assert np.array_equal(filtered.decode_latents(data)[1], latents)
    assert hides_signs == {1: False, 2: True, 3: True}


def test_damage_to_hidden_signs_is_noticed(filtered):
    data = bytearray(filtered.encode(made_picture(160, 128), 60, fallback=False, effort=2))
    data[-20] ^= 4
    with pytest.raises(FormatError):
        Codec(filtered.model, threads=1).decode(bytes(data))
