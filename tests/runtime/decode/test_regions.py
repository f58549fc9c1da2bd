"""Large pictures: tiles, regions, and what is left of a damaged file."""

import io

import numpy as np
import pytest
from PIL import Image

from codec import FormatError, LimitError
from codec.container import nic
from codec.encode import encoder
from conftest import made_picture


@pytest.fixture(scope="module")
def tiled(tiny):
    """A picture coded in tiles of 256 pixels, as only large ones are: (pixels, file)."""
    pixels = made_picture(1100, 700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "SMALL_TILES_FROM", 0)
        return pixels, tiny.encode(pixels, 50, fallback=False)


@pytest.mark.parametrize("region", [(0, 0, 1, 1), (300, 200, 812, 640), (1000, 600, 1100, 700), (0, 0, 1100, 700)])
def test_a_region_is_what_the_whole_picture_has_there(tiny, tiled, region):
    whole = np.asarray(tiny.decode(tiled[1])).astype(int)
    left, top, right, bottom = region
    part = np.asarray(tiny.decode(tiled[1], region=region)).astype(int)
    assert part.shape == (bottom - top, right - left, 3)
    assert abs(part - whole[top:bottom, left:right]).max() <= 1


@pytest.mark.parametrize(("height", "side"), [(724, 1024), (725, 512), (5793, 512), (5794, 256)])
def test_larger_pictures_have_smaller_tiles(tiny, height, side):
    assert nic.reader(tiny.encode(np.zeros((height, 724, 3), np.uint8))).header.tile_size == side


def test_a_region_reads_only_the_tiles_it_needs(tiny, tiled):
    reader = nic.reader(tiled[1])
    tiny._decoder(reader, (10, 10, 60, 60)).decode()
    assert reader.bytes_read < 0.2 * len(tiled[1])


@pytest.mark.parametrize("region", [(0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 1101, 5), (9, 9, 3, 3)])
def test_a_region_outside_the_picture_is_refused(tiny, tiled, region):
    with pytest.raises(FormatError, match="not inside"):
        tiny.decode(tiled[1], region=region)


def test_salvage_keeps_the_undamaged_tiles_and_names_the_others(tiny, tiled):
    whole = np.asarray(tiny.decode(tiled[1])).astype(int)
    damaged = bytearray(tiled[1])
    damaged[len(damaged) // 2] ^= 4
    with pytest.raises(FormatError, match="damaged"):
        tiny.decode(bytes(damaged))
    image, lost = tiny.salvage(bytes(damaged))
    found = np.asarray(image).astype(int)
    assert len(lost) == 1
    row, column = divmod(lost[0], 5)
    near = np.zeros(found.shape[:2], bool)
    near[max(0, 256 * row - 64) : 256 * row + 320, max(0, 256 * column - 64) : 256 * column + 320] = True
    assert abs(found - whole)[~near].max() <= 1
    tile = found[256 * row : 256 * row + 256, 256 * column : 256 * column + 256]
    assert (tile == tile[0, 0]).all()


def test_salvage_of_a_truncated_file_gives_its_beginning(tiny, tiled):
    image, lost = tiny.salvage(tiled[1][: len(tiled[1]) // 2])
    assert image.size == (1100, 700) and lost == list(range(lost[0], 15)) and lost[0] > 3


def test_threads_do_not_change_a_file(tiny_model_path, tiled):
    from codec import Codec

    two = Codec(str(tiny_model_path), threads=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "SMALL_TILES_FROM", 0)
        assert two.encode(tiled[0], 50, fallback=False) == tiled[1]
    assert abs(np.asarray(two.decode(tiled[1])).astype(int) - np.asarray(two.decode(io.BytesIO(tiled[1])))).max() == 0


def test_alpha_and_mixed_tiles_of_a_large_picture(tiny):
    pixels = made_picture(600, 520)
    pixels[:256, :256] = (1, 2, 3)
    alpha = np.full((520, 600), 255, np.uint8)
    alpha[300:, 100:] = 0
    image = Image.fromarray(np.dstack([pixels, alpha]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "SMALL_TILES_FROM", 0)
        data, latents = tiny.encode_with_latents(image, 70)
    decoded = np.asarray(tiny.decode(data))
    assert np.array_equal(decoded[..., 3], alpha) and (decoded[:256, :256, :3] == (1, 2, 3)).all()
    assert np.array_equal(tiny.decode_latents(data)[1], latents)
    assert np.array_equal(np.asarray(tiny.decode(data, region=(250, 250, 400, 400)))[..., 3], alpha[250:400, 250:400])


def test_pictures_beyond_the_limits_are_refused_before_anything_is_computed(tiny):
    row = np.zeros((1, 65536, 3), np.uint8)
    with pytest.raises(LimitError, match="sides go up to 65535"):
        tiny.encode(row)
    many = np.lib.stride_tricks.as_strided(row, (20000, 20000, 3), (0, 0, 1))
    with pytest.raises(LimitError, match="readers take"):
        tiny.encode(many)
