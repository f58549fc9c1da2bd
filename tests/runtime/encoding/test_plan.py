"""What is decided before a picture is encoded: tile sizes, and tiles that need no latents."""

import numpy as np
import pytest
from PIL import Image

from codec.container import nic
from codec.container.tile import LATENTS, ONE_COLOUR, unpack
from codec.encoding.plan import tile_exponent
from conftest import made_picture


@pytest.mark.parametrize(("height", "side"), [(724, 1024), (725, 512), (5793, 512), (5794, 256)])
def test_larger_pictures_have_smaller_tiles(tiny, height, side):
    assert nic.reader(tiny.encode(np.zeros((height, 724, 3), np.uint8))).header.tile_size == side
    assert 64 << tile_exponent(height * 724) == side


@pytest.mark.usefixtures("small_tiles")
def test_a_fully_transparent_tile_is_stored_as_one_colour(tiny):
    alpha = np.zeros((300, 600), np.uint8)
    alpha[100:200, 100:200] = 255
    image = Image.fromarray(made_picture(600, 300))
    image.putalpha(Image.fromarray(alpha))
    reader = nic.reader(tiny.encode(image, fallback=False))
    methods = [unpack(reader.tile(index), True).method for index in range(reader.header.tiles)]
    assert methods == [LATENTS] + [ONE_COLOUR] * 5


@pytest.mark.parametrize("colour", [(7, 80, 200), (7, 80, 200, 0)])
def test_one_colour_and_full_transparency_cost_next_to_nothing(tiny, colour):
    image = Image.new("RGB" if len(colour) == 3 else "RGBA", (700, 500), colour)
    data = tiny.encode(image)
    assert len(data) < 120
    decoded = np.asarray(tiny.decode(data))
    assert (decoded[..., 3] == 0).all() if len(colour) == 4 else (decoded == colour).all()
