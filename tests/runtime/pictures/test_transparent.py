"""Fully transparent pixels take colours that cost little; nothing that can be seen changes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from codec import Codec
from codec.container import nic
from codec.container.tile import LATENTS, ONE_COLOUR, unpack
from codec.pictures.planes import Picture
from codec.pictures.transparent import fill_transparent
from conftest import made_picture

SAMPLE = Path(__file__).parents[2] / "samples" / "coffee.png"
sides = st.integers(1, 9)


@settings(max_examples=100, deadline=None)
@given(st.tuples(sides, sides).flatmap(lambda shape: arrays(np.uint8, (*shape, 4))))
def test_what_can_be_seen_stays_and_the_rest_lies_between(rgba):
    rgba[..., 3] &= 0x81  # many zeros
    pixels, alpha = rgba[..., :3].copy(), rgba[..., 3].copy()
    found = fill_transparent(Picture(pixels.copy(), alpha=alpha)).pixels
    visible = alpha > 0
    assert found.shape == pixels.shape and found.dtype == np.uint8
    assert np.array_equal(found[visible], pixels[visible])
    if visible.any():  # means that are rounded as 8 bits leave the range by a few levels
        lowest, highest = (bound(pixels[visible].astype(int), axis=0) for bound in (np.min, np.max))
        assert (found >= lowest - 8).all() and (found <= highest + 8).all()
    else:
        assert not found.any()


@pytest.fixture(scope="module")
def photograph():
    with Image.open(SAMPLE) as image:
        return np.asarray(image.convert("RGB"))[:256, :384]


def test_a_cut_out_costs_less_than_with_one_colour_around_it(photograph):
    rows, columns = np.mgrid[:256, :384]
    visible = ((rows - 128) / 110) ** 2 + ((columns - 192) / 170) ** 2 < 1
    alpha = np.where(visible, np.uint8(255), np.uint8(0))
    image = Image.fromarray(photograph)
    image.putalpha(Image.fromarray(alpha))
    one_colour = photograph.copy()
    one_colour[~visible] = photograph[visible].mean(axis=0).round()
    codec = Codec(threads=1)
    filled = fill_transparent(Picture(photograph, alpha=alpha)).pixels
    assert len(codec.encode(filled)) < 0.97 * len(codec.encode(one_colour))
    decoded = np.asarray(codec.decode(codec.encode(image)))
    assert np.array_equal(decoded[..., 3], alpha)
    error = (decoded[..., :3].astype(float) - photograph)[visible]
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 30


def test_a_tile_that_is_hidden_is_one_colour(tiny):
    alpha = np.zeros((1100, 2060), np.uint8)
    alpha[100:200, 100:200] = 255
    image = Image.fromarray(made_picture(2060, 1100))
    image.putalpha(Image.fromarray(alpha))
    reader = nic.reader(tiny.encode(image, fallback=False))
    methods = [unpack(reader.tile(index), True).method for index in range(reader.header.tiles)]
    assert methods == [LATENTS] + [ONE_COLOUR] * (len(methods) - 1)
