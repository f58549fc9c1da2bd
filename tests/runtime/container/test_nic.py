"""The .nic file: reading is the inverse of writing, and all damage is noticed."""

import contextlib
import dataclasses
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.container.nic import CHUNKS, Header, reader, write
from codec.errors import ArgumentError, FormatError

headers = st.builds(
    Header,
    model_id=st.binary(min_size=8, max_size=8),
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    hundredths=st.integers(0, 10000),
    grey=st.booleans(),
    alpha=st.booleans(),
    tile_exponent=st.integers(0, 4),
    post_filter=st.binary(max_size=255),
)
metadata = st.dictionaries(st.sampled_from(list(CHUNKS.values())), st.binary(min_size=1, max_size=20))
HEADER = Header(b"12345678", 130, 70, 5000, tile_exponent=0, post_filter=b"filter")
METADATA = {"icc": b"profile", "xmp": b"<x/>"}
DATA = write(HEADER, [bytes([i] * (i + 1)) for i in range(HEADER.tiles)], METADATA)


def read(data):
    """The header, the tiles and the metadata of a file, all checked."""
    file = reader(data)
    return file.header, [file.tile(i) for i in range(file.header.tiles)], file.metadata()


@given(headers, metadata, st.data())
def test_reading_is_the_inverse_of_writing(header, metadata, data):
    tiles = [data.draw(st.binary(min_size=1, max_size=20)) for _ in range(header.tiles)]
    assert read(write(header, tiles, metadata)) == (header, tiles, metadata)


def test_a_picture_of_one_tile_costs_at_most_32_bytes_besides_its_stream():
    header = dataclasses.replace(HEADER, tile_exponent=4, post_filter=b"")
    # One byte of the tile says how it is coded, and one of its stream counts the escapes.
    assert len(write(header, [b""])) <= 32 - 2


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
    start = data.index(b"aaaa") - 4
    first, second = data[start : start + 8], data[start + 8 : start + 16]
    with pytest.raises(FormatError, match="tile 0"):
        read(data[:start] + second + first + data[start + 16 :])


def test_bytes_after_the_end_are_noticed():
    with pytest.raises(FormatError):
        read(DATA + b"\0")


def test_a_huge_picture_in_a_short_file_is_refused_before_anything_is_allocated():
    header = Header(b"12345678", 65535, 65535, 5000, tile_exponent=0)
    with pytest.raises(FormatError, match="too short"):
        read(write(header, [b"0"]))


def test_forged_lengths_are_refused_even_with_a_correct_checksum():
    lengths_at = 22 + 1 + 5 * len(METADATA)
    forged = bytearray(DATA)
    struct.pack_into("<I", forged, lengths_at, 0xFFFFFFFF)
    end = lengths_at + 4 * (HEADER.tiles - 1) + 1 + len(HEADER.post_filter)
    struct.pack_into("<I", forged, end, zlib.crc32(forged[:end]))
    with pytest.raises(FormatError, match="cut short"):
        read(bytes(forged))


def test_a_post_filter_of_no_bytes_or_too_many_is_refused():
    header = Header(b"12345678", 10, 10, 5000, post_filter=b"f")
    forged = write(header, [b"0"]).replace(b"\x01f", b"\x00")
    end = forged.index(b"\x00", 22) + 1
    with pytest.raises(FormatError, match="no bytes"):
        read(forged[:end] + struct.pack("<I", zlib.crc32(forged[:end])) + forged[end + 4 :])
    with pytest.raises(FormatError, match="255"):
        dataclasses.replace(header, post_filter=bytes(256))


def test_metadata_of_more_than_the_limit_is_an_argument_error(monkeypatch):
    monkeypatch.setattr("codec.container.nic.MAX_CHUNK", 3)
    header = Header(b"12345678", 10, 10, 5000)
    write(header, [b"0"], {"icc": b"123"})
    with pytest.raises(ArgumentError, match="metadata"):
        write(header, [b"0"], {"icc": b"1234"})


def test_salvage_gives_every_tile_whose_bytes_are_intact():
    damaged = bytearray(DATA[:-2])
    damaged[DATA.index(b"\x01\x01")] ^= 1
    file = reader(bytes(damaged))
    file.salvage = True
    intact = []
    for index in range(HEADER.tiles):
        with contextlib.suppress(FormatError):
            intact.append(file.tile(index))
    assert len(intact) == HEADER.tiles - 2 and file.metadata() == METADATA


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(data):
    with pytest.raises(FormatError) as raised:
        read(data)
    assert "\n" not in str(raised.value)
