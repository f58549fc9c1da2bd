"""Tiles that WebP codes better: never worse than WebP at the same bytes by more than a tile's header."""

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.out_of_distribution import OVERHEAD, PICTURES, best_webp, pixel_art
from codec import Codec
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
    assert not best_webp(pixels, len(data) - OVERHEAD) > psnr(pixels, decoded)


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


def test_pixel_art_on_a_transparent_ground_is_exact_in_about_the_bytes_of_webp():
    rng = np.random.default_rng(1)
    palette = rng.integers(0, 256, (6, 3), np.uint8)
    colours = np.kron(palette[rng.integers(0, 6, (8, 8))], np.ones((4, 4, 1), np.uint8))
    alpha = np.where(np.hypot(*(np.mgrid[0:32, 0:32] - 16)) < 13, np.uint8(255), np.uint8(0))
    sprite = np.dstack([colours, alpha])
    data = Codec().encode(Image.fromarray(sprite), 95)
    decoded = np.asarray(Codec().decode(data))
    assert np.array_equal(decoded[alpha > 0], sprite[alpha > 0]) and np.array_equal(decoded[..., 3], alpha)
    lossless = io.BytesIO()
    Image.fromarray(sprite).save(lossless, "WEBP", lossless=True)
    assert len(data) < 2 * len(lossless.getvalue())
