"""Tiles that WebP codes better: never worse than WebP at the same bytes by more than a tile's header."""

import numpy as np
import pytest

from benchmarks.out_of_distribution import HEADER, PICTURES, best_webp, pixel_art
from codec.container import nic
from codec.container.tile import WEBP, unpack
from codec.decoding.webp import decode_webp
from codec.encoding.webp import encode_lossless
from codec.metrics import psnr
from conftest import made_picture

SIDE = 160


@pytest.mark.parametrize("draw", PICTURES, ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("quality", [20, 80])
def test_a_file_is_never_worse_than_webp_at_the_same_bytes(tiny, draw, quality):
    pixels = draw(SIDE)
    data = tiny.encode(pixels, quality)
    decoded = np.asarray(tiny.decode(data))
    assert not best_webp(pixels, len(data) - HEADER) > psnr(pixels, decoded)


def test_drawings_are_stored_as_webp_unless_that_is_forbidden(tiny):
    data = tiny.encode(pixel_art(SIDE), 50)
    assert unpack(nic.reader(data).tile(0), False).method == WEBP
    assert np.array_equal(np.asarray(tiny.decode(data)), pixel_art(SIDE))
    without = tiny.encode(pixel_art(SIDE), 50, fallback=False)
    assert unpack(nic.reader(without).tile(0), False).method != WEBP


def test_lossless_files_decode_to_the_same_pixels():
    pixels = made_picture(31, 17)
    assert np.array_equal(decode_webp(encode_lossless(pixels), 17, 31), pixels)
    assert np.array_equal(decode_webp(encode_lossless(pixels[..., 0]), 17, 31)[..., 0], pixels[..., 0])
