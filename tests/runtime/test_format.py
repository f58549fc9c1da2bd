import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.errors import FormatError
from codec.format import HEADER_SIZE, Header, read, write

headers = st.builds(
    Header,
    model_id=st.binary(min_size=8, max_size=8),
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    quality=st.integers(0, 10000),
    grey=st.booleans(),
    tile_exponent=st.integers(0, 4),
)
HEADER = Header(b"12345678", 130, 70, 5000, tile_exponent=0)
DATA = write(HEADER, [bytes([i] * (i + 1)) for i in range(HEADER.tiles)])


@given(headers, st.data())
def test_reading_is_the_inverse_of_writing(header, data):
    streams = [data.draw(st.binary(min_size=1, max_size=20)) for _ in range(header.tiles)]
    assert read(write(header, streams)) == (header, streams)


def test_a_picture_of_one_tile_costs_at_most_32_bytes_besides_its_stream():
    header = dataclasses.replace(HEADER, tile_exponent=4)
    assert len(write(header, [b""])) <= 32 - 1  # one byte of the stream counts the escapes


@pytest.mark.parametrize("length", range(len(DATA)))
def test_a_truncated_file_is_refused_at_every_length(length):
    with pytest.raises(FormatError):
        read(DATA[:length])


def test_one_flipped_bit_anywhere_is_noticed():
    for position in range(8 * len(DATA)):
        damaged = bytearray(DATA)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(FormatError):
            read(bytes(damaged))


def test_swapped_tiles_are_noticed():
    header = Header(b"12345678", 192, 64, 5000, tile_exponent=0)
    data = write(header, [b"aaaa", b"bbbb", b"c"])
    first, second = data[HEADER_SIZE : HEADER_SIZE + 12], data[HEADER_SIZE + 12 : HEADER_SIZE + 24]
    with pytest.raises(FormatError, match="tile 0"):
        read(data[:HEADER_SIZE] + second + first + data[HEADER_SIZE + 24 :])


def test_a_huge_picture_in_a_short_file_is_refused_before_anything_is_allocated():
    header = Header(b"12345678", 65535, 65535, 5000)
    with pytest.raises(FormatError, match="too short"):
        read(write(header, [b"0"]))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(data):
    with pytest.raises(FormatError) as raised:
        read(data)
    assert "\n" not in str(raised.value)
