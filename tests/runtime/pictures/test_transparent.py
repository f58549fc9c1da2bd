"""Fully transparent pixels take colours that cost little; nothing visible changes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from codec import Codec
from codec.pictures.planes import Picture
from codec.pictures.transparent import fill_transparent
from conftest import SAMPLES

sides = st.integers(1, 9)


@settings(max_examples=100)
@given(st.tuples(sides, sides).flatmap(lambda shape: arrays(np.uint8, (*shape, 4))))
def test_visible_pixels_stay_and_the_others_lie_between_them(rgba):
    rgba[..., 3] &= 0x81  # many zeros
    pixels, alpha = rgba[..., :3].copy(), rgba[..., 3].copy()
    filled = fill_transparent(Picture(pixels.copy(), alpha=alpha)).pixels
    is_visible = alpha > 0
    assert filled.shape == pixels.shape and filled.dtype == np.uint8
    assert np.array_equal(filled[is_visible], pixels[is_visible])
    if is_visible.any():  # means that are rounded to 8 bits leave the range by a few levels
        lowest, highest = (bound(pixels[is_visible].astype(int), axis=0) for bound in (np.min, np.max))
        assert (filled >= lowest - 8).all() and (filled <= highest + 8).all()
    else:
        assert not filled.any()


def test_a_cut_out_costs_less_than_with_one_colour_around_it():
    with Image.open(SAMPLES / "coffee.png") as picture:
        photograph = np.asarray(picture.convert("RGB"))[:256, :384]
    rows, columns = np.mgrid[:256, :384]
    is_visible = ((rows - 128) / 110) ** 2 + ((columns - 192) / 170) ** 2 < 1
    alpha = np.where(is_visible, np.uint8(255), np.uint8(0))
    image = Image.fromarray(photograph)
    image.putalpha(Image.fromarray(alpha))
    one_colour = photograph.copy()
    one_colour[~is_visible] = photograph[is_visible].mean(axis=0).round()
    codec = Codec(threads=1)
    filled = fill_transparent(Picture(photograph, alpha=alpha)).pixels
    assert len(codec.encode(filled, effort=1)) < 0.97 * len(codec.encode(one_colour, effort=1))
    decoded = np.asarray(codec.decode(codec.encode(image, effort=1)))
    assert np.array_equal(decoded[..., 3], alpha)
    error = (decoded[..., :3].astype(float) - photograph)[is_visible]
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 30
