"""Decoding of large pictures: regions, and the rest of a damaged file."""

import io

import numpy as np
import pytest

from codec import Codec
from codec.container import nic
from codec.errors import ArgumentError, FormatError, LimitError
from codec.networks.engine import Engine
from conftest import made_picture


@pytest.fixture(scope="module")
def tiled(tiny):
    """A picture coded in tiles of 256 pixels, as only large ones are: (pixels, file)."""
    pixels = made_picture(1100, 700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("codec.encoding.plan.SMALL_TILE_PIXELS", 0)
        return pixels, tiny.encode(pixels, 50, fallback=False)


@pytest.mark.parametrize("region", [(0, 0, 1, 1), (300, 200, 812, 640), (1000, 600, 1100, 700), (0, 0, 1100, 700)])
def test_a_region_is_the_same_in_the_whole_picture(tiny, tiled, region):
    whole = np.asarray(tiny.decode(tiled[1])).astype(int)
    left, top, right, bottom = region
    decoded = np.asarray(tiny.decode(tiled[1], region=region)).astype(int)
    assert decoded.shape == (bottom - top, right - left, 3)
    assert abs(decoded - whole[top:bottom, left:right]).max() <= 1


def test_a_region_reads_only_the_tiles_it_needs(tiny, tiled):
    reader = nic.reader(tiled[1])
    tiny._decoder(reader, (10, 10, 60, 60)).decode()
    assert reader.bytes_read < 0.2 * len(tiled[1])


@pytest.mark.parametrize("region", [(0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 1101, 5), (9, 9, 3, 3)])
def test_a_region_outside_the_picture_is_an_argument_error(tiny, tiled, region):
    with pytest.raises(ArgumentError, match="not inside"):
        tiny.decode(tiled[1], region=region)


def test_salvage_keeps_the_undamaged_tiles_and_names_the_others(tiny, tiled):
    whole = np.asarray(tiny.decode(tiled[1])).astype(int)
    damaged = bytearray(tiled[1])
    damaged[len(damaged) // 2] ^= 4
    with pytest.raises(FormatError, match="damaged"):
        tiny.decode(bytes(damaged))
    image, lost = tiny.salvage(bytes(damaged))
    salvaged = np.asarray(image).astype(int)
    assert len(lost) == 1
    row, column = divmod(lost[0], 5)
    is_near = np.zeros(salvaged.shape[:2], bool)
    is_near[max(0, 256 * row - 64) : 256 * row + 320, max(0, 256 * column - 64) : 256 * column + 320] = True
    assert abs(salvaged - whole)[~is_near].max() <= 1
    tile = salvaged[256 * row : 256 * row + 256, 256 * column : 256 * column + 256]
    assert (tile == tile[0, 0]).all()


def test_salvage_of_a_truncated_file_gives_its_beginning(tiny, tiled):
    image, lost = tiny.salvage(tiled[1][: len(tiled[1]) // 2])
    assert image.size == (1100, 700) and lost == list(range(lost[0], 15)) and lost[0] > 3


def test_salvage_of_a_file_whose_every_tile_is_lost_gives_grey(tiny, tiled):
    first_tile = nic.reader(tiled[1])._starts[0]
    image, lost = tiny.salvage(tiled[1][: first_tile + 4])
    assert lost == list(range(15)) and (np.asarray(image) == 128).all()


def test_salvage_of_an_undamaged_file_loses_nothing(tiny, tiled):
    image, lost = tiny.salvage(tiled[1])
    assert lost == [] and np.array_equal(np.asarray(image), np.asarray(tiny.decode(tiled[1])))


def test_a_file_is_decoded_to_the_same_pixels_from_bytes_and_from_an_open_file(tiny_model_path, tiled):
    codec = Codec(str(tiny_model_path), threads=2)
    from_bytes, from_file = (np.asarray(codec.decode(source)) for source in (tiled[1], io.BytesIO(tiled[1])))
    assert np.array_equal(from_bytes, from_file)


def test_a_picture_beyond_the_limit_is_refused_before_anything_is_computed(tiny):
    header = nic.Header(tiny.model.model_id, 65535, 65535, 5000)
    with pytest.raises(LimitError, match="this reader takes"):
        tiny.decode(nic.write(header, [b"\x02abc"] * header.tiles))


def test_tiles_of_a_large_picture_leave_no_seam(tiny):
    pixels = made_picture(1100, 90)
    data, latents = tiny.encode_with_latents(pixels, 60, fallback=False)
    in_windows = np.asarray(tiny.decode(data)).astype(int)
    engine = Engine(tiny.model, threads=1)
    x_hat = engine.run("synthesis", y_hat=latents[None] / 16, quality=np.array([0.6], np.float32))[0][0]
    at_once = (x_hat * 255 + 0.5).clip(0, 255).astype(int)[:, :90, :1100].transpose(1, 2, 0)
    assert abs(in_windows - at_once).max() <= 1


@pytest.mark.parametrize("content", [b"\x00\x01", b"\x00\xff\xff\xff\xff", b"\x02\x03\x00\x00\x00abc123"])
def test_damaged_alpha_is_a_format_error(tiny, content):
    header = nic.Header(tiny.model.model_id, 10, 10, 5000, alpha=True)
    with pytest.raises(FormatError):
        tiny.decode(nic.write(header, [content]))


@pytest.mark.parametrize("content", [b"\x03", b"\x02\1\2", b"\xff123"])
def test_a_tile_of_an_unknown_method_or_length_is_a_format_error(tiny, content):
    header = nic.Header(tiny.model.model_id, 10, 10, 5000)
    with pytest.raises(FormatError):
        tiny.decode(nic.write(header, [content]))
