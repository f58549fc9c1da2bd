"""PNG files whose ancillary chunks Pillow refuses, or does not understand."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from codec.errors import PictureError
from codec.pictures.files import open_picture
from codec.pictures.planes import as_picture
from codec.pictures.png import MAGIC, MAX_METADATA, mend
from conftest import made_picture

PIXELS = made_picture(32, 24)
GREY = np.arange(32 * 24, dtype=np.uint16).reshape(24, 32)


def chunk(kind, content, is_sound=True):
    checksum = zlib.crc32(kind + content) ^ (0 if is_sound else 1)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(*ancillary, rows=PIXELS, depth=8, colour=2, width=32):
    """A PNG file of these rows of bytes, with chunks before its pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return MAGIC + chunk(b"IHDR", header) + b"".join(ancillary) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def test_text_of_over_a_mebibyte_and_a_wrong_checksum_of_text_are_passed_over():
    large = chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(2 << 20)))
    damaged = chunk(b"tEXt", b"Comment\0hello", is_sound=False)
    assert np.array_equal(np.asarray(open_picture(png(large, damaged))), PIXELS)


def test_a_profile_of_over_a_mebibyte_is_kept():
    profile = bytes(range(256)) * (6 << 10)
    opened = open_picture(png(chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))))
    assert as_picture(opened).metadata["icc"] == profile


def test_a_profile_that_decompresses_without_end_is_refused():
    bomb = zlib.compress(bytes(MAX_METADATA + 1))
    with pytest.raises(PictureError, match="metadata of over"):
        open_picture(png(chunk(b"iCCP", b"name\0\0" + bomb)))


def test_xmp_is_kept():
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    opened = open_picture(png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)))
    assert as_picture(opened).metadata["xmp"] == xmp


def test_exif_in_the_form_of_imagemagick_is_read():
    exif = Image.Exif()
    exif[0x0112] = 6
    digits = exif.tobytes().hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    text = f"\nexif\n{len(digits) // 2:8d}\n{lines}\n".encode()
    for raw in (
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)),
        chunk(b"tEXt", b"Raw profile type exif\0" + text),
    ):
        assert open_picture(png(raw)).getexif()[0x0112] == 6
    assert not open_picture(png(chunk(b"tEXt", b"Raw profile type exif\0nothing of the kind"))).getexif()


def test_one_grey_value_of_sixteen_bits_is_transparent():
    grey = png(chunk(b"tRNS", struct.pack(">H", 300)), rows=GREY.astype(">u2"), depth=16, colour=0)
    picture = as_picture(open_picture(grey))
    assert picture.grey and np.array_equal(picture.alpha, np.where(GREY == 300, 0, 255))


def test_one_grey_value_of_four_bits_is_transparent():
    values = np.arange(32, dtype=np.uint8) % 16
    rows = np.tile(values[::2] << 4 | values[1::2], (24, 1))
    picture = as_picture(open_picture(png(chunk(b"tRNS", struct.pack(">H", 15)), rows=rows, depth=4, colour=0)))
    assert np.array_equal(picture.alpha, np.tile(np.where(values == 15, 0, 255), (24, 1)))


def test_a_transparent_colour_of_sixteen_bits_is_refused_instead_of_lost():
    rows = PIXELS.astype(">u2") * 257
    with pytest.raises(PictureError, match="transparent colour"):
        open_picture(png(chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)), rows=rows, depth=16))


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_magic_are_mended_or_refused(content):
    try:
        data, _ = mend(MAGIC + content)
        assert data.startswith(MAGIC)
    except PictureError:
        pass


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_file_is_a_picture_or_one_error(position, value):
    data = bytearray(png(chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(500))), chunk(b"tEXt", b"a\0b")))
    data[position % len(data)] = value
    try:
        open_picture(bytes(data))
    except PictureError as error:
        assert "\n" not in str(error)
