"""Signs that parities say: round trips, what they save, and streams that are anything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import Codec
from codec.container.nic import reader
from codec.container.tile import unpack
from codec.encode.hide_signs import StepSymbols
from codec.entropy.constants import SCALE_LEVELS
from codec.entropy.hidden_signs import HiddenSigns
from codec.entropy.range_coder import VALUE_LIMIT, RangeDecoder, RangeEncoder
from codec.errors import FormatError
from conftest import made_picture


@pytest.fixture(scope="module")
def model(filtered):
    return filtered.model


def step(seed, count, level, spread=6):
    """Scale indices around ``level``, and what symbols are wanted there."""
    rng = np.random.default_rng(seed)
    indices = rng.normal(level, spread, count).round().clip(0, SCALE_LEVELS - 1).astype(np.int64)
    return indices, rng.laplace(0, 0.11 * 1.13**indices)


def coded(model, indices, wanted):
    """Bytes with hidden signs, and the symbols that they hold."""
    coder, symbols = RangeEncoder(), np.rint(wanted).clip(1 - VALUE_LIMIT, VALUE_LIMIT - 1).astype(np.int32)
    kept = symbols.copy()
    hidden = model.hidden_signs
    tile = StepSymbols(symbols, symbols - wanted, indices, hidden.layout(indices))
    (found,) = hidden.moved([tile], model.bits_of)
    hidden.encode(coder, tile, found)
    assert np.array_equal(symbols, kept)
    return coder.finish(), symbols, found


@given(st.integers(0, 2**32), st.integers(0, 3000), st.integers(0, 63), st.sampled_from([1, 1000]))
def test_decoding_gives_what_encoding_chose_which_is_next_to_what_was_wanted(filtered, seed, count, level, times):
    model = filtered.model
    indices, wanted = step(seed, count, level)
    data, symbols, found = coded(model, indices, wanted * times)
    decoder = RangeDecoder(data)
    assert np.array_equal(model.hidden_signs.decode(decoder, indices), found)
    decoder.finish()
    assert (np.abs(found - symbols) <= 1).all() and (np.abs(found) < VALUE_LIMIT).all()


@pytest.mark.parametrize("level", [8, 16, 30])
def test_hiding_saves_more_than_its_errors_cost(model, level):
    indices, wanted = step(1, 60_000, level)
    data, symbols, found = coded(model, indices, wanted)
    plain = RangeEncoder()
    plain.encode(symbols, indices, model.scale_tables)
    saved = 8 * (len(plain.finish()) - len(data))
    layout = model.hidden_signs.layout(indices)
    hidden = np.count_nonzero(found[layout.signless])
    assert saved > 0.8 * hidden > 500
    # 9 bits for a squared error of 1: what a bit weighs where a step of 1 is the best.
    more_error = 9 * (np.square(found - wanted).sum() - np.square(symbols - wanted).sum())
    assert more_error < 0.7 * saved


def test_scale_indices_alone_decide_where_signs_hide(model):
    indices, wanted = step(2, 5000, 20)
    first, second = (model.hidden_signs.layout(indices) for _ in range(2))
    assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("carriers", "ends", "signless"))
    places = first.carriers.ravel()
    assert len(set(places.tolist())) == len(places)
    assert indices[first.signless].min() >= np.median(indices[places])
    assert first.ends[-1] == len(first.carriers) and (np.diff(first.ends) > 0).all()
    assert first.signless.shape == (len(first.ends), first.carriers.shape[1])


def test_signs_are_where_the_file_format_says(model):
    indices, wanted = step(3, 4000, 22)
    _, _, found = coded(model, indices, wanted)
    chances = [65536 - int(table.frequencies[table.radius]) for table in model.scale_tables]
    capacities = [7 * 65536 * c // (655360 + 12 * c) if c >= 409 else 0 for c in chances]
    carriers = [place for place in range(len(indices)) if capacities[indices[place]]]
    carriers.sort(key=lambda place: indices[place])
    lanes = min(max(sum(capacities[indices[place]] for place in carriers) // (48 * 65536), 1), 256)
    carriers = carriers[len(carriers) % lanes :]
    rows = [carriers[start : start + lanes] for start in range(0, len(carriers), lanes)]
    reached, total = [], 0
    for row in rows:
        total += capacities[indices[row[0]]]
        reached.append(total)
    count = total // 65536 - 1
    assert lanes > 1 and count > 20
    ends = [next(t + 1 for t, r in enumerate(reached) if r >= total - 65536 * (count - 1 - g)) for g in range(count)]
    for lane in range(lanes):
        bits = [0] * (count + 8)
        for t, row in enumerate(rows):
            first = sum(end <= t for end in ends)
            column = 129 | (2654435761 * (t + 1) % 2**32) >> 24
            for i in range(8):
                bits[first + i] ^= column >> i & int(found[row[lane]]) & 1
        for g in range(count):
            symbol = found[rows[len(rows) - count + g][lane]]
            assert symbol == 0 or bits[g] == (symbol < 0)


def test_few_or_sure_symbols_hide_nothing(model):
    for indices in (np.zeros(0, np.int64), np.full(3, 40), np.zeros(5000, np.int64)):
        assert model.hidden_signs.layout(indices) is None
        data, symbols, found = coded(model, indices, np.zeros(len(indices)))
        assert np.array_equal(symbols, found)
        assert np.array_equal(model.hidden_signs.decode(RangeDecoder(data), indices), found)


@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_any_bytes_decode_or_raise_a_format_error(filtered, data, seed):
    indices, _ = step(seed, 800, 20)
    try:
        decoder = RangeDecoder(data)
        found = filtered.model.hidden_signs.decode(decoder, indices)
        decoder.finish()
    except FormatError:
        return
    assert found.shape == (800,)


def test_magnitudes_have_the_sums_of_both_signs(model):
    hidden = HiddenSigns(model.scale_tables)
    for table, folded in zip(model.scale_tables, hidden.tables[SCALE_LEVELS:], strict=True):
        values = np.arange(1, table.radius + 1)
        assert folded.radius == table.radius and folded.least == 0
        both = 2.0 ** -table.code_lengths(values) + 2.0 ** -table.code_lengths(-values)
        assert np.allclose(2.0 ** -folded.code_lengths(values), both)
        edges = np.array([0, table.radius + 1])
        assert np.allclose(folded.code_lengths(edges), table.code_lengths(edges))


def test_files_hide_signs_from_effort_two_on(filtered):
    pixels = made_picture(160, 128)
    methods = {}
    for effort in (1, 2, 3):
        data, latents = filtered.encode_with_latents(pixels, 60, fallback=False, effort=effort)
        methods[effort] = unpack(reader(data).tile(0), False).hides_signs
        assert np.array_equal(filtered.decode_latents(data)[1], latents)
    assert methods == {1: False, 2: True, 3: True}


def test_damage_to_hidden_signs_is_found(filtered):
    data = bytearray(filtered.encode(made_picture(160, 128), 60, fallback=False, effort=2))
    data[-20] ^= 4
    with pytest.raises(FormatError):
        Codec(filtered.model, threads=1).decode(bytes(data))
