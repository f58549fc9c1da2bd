"""Whole files: tiles of several kinds in one picture, on one thread and on two."""

import numpy as np
import pytest
from PIL import Image

from codec import Codec
from conftest import made_picture


@pytest.mark.usefixtures("small_tiles")
def test_threads_do_not_change_a_file(tiny, tiny_model_path):
    pixels = made_picture(1100, 700)
    on_two_threads = Codec(str(tiny_model_path), threads=2).encode(pixels, 50, fallback=False)
    assert on_two_threads == tiny.encode(pixels, 50, fallback=False)


@pytest.mark.usefixtures("small_tiles")
def test_a_large_picture_may_mix_alpha_one_colour_and_latents(tiny):
    pixels = made_picture(600, 520)
    pixels[:256, :256] = (1, 2, 3)
    alpha = np.full((520, 600), 255, np.uint8)
    alpha[300:, 100:] = 0
    image = Image.fromarray(np.dstack([pixels, alpha]))
    data, latents = tiny.encode_with_latents(image, 70)
    decoded = np.asarray(tiny.decode(data))
    assert np.array_equal(decoded[..., 3], alpha) and (decoded[:256, :256, :3] == (1, 2, 3)).all()
    assert np.array_equal(tiny.decode_latents(data)[1], latents)
    assert np.array_equal(np.asarray(tiny.decode(data, region=(250, 250, 400, 400)))[..., 3], alpha[250:400, 250:400])
