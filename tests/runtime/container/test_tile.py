"""A tile's content: unpacking is the inverse of packing, and any bytes are a tile or one error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.container.tile import LATENTS, LATENTS_HIDING_SIGNS, ONE_COLOUR, WEBP, TileContent, pack, unpack
from codec.errors import FormatError

streams = st.builds(
    TileContent,
    method=st.sampled_from([LATENTS, WEBP, LATENTS_HIDING_SIGNS]),
    colours=st.binary(max_size=40),
    alpha=st.binary(max_size=40),
)
colours = st.builds(
    TileContent,
    method=st.just(ONE_COLOUR),
    colours=st.binary(min_size=3, max_size=3),
    alpha=st.binary(max_size=40),
)


@given(streams | colours)
def test_unpacking_is_the_inverse_of_packing(content):
    assert unpack(pack(content, has_alpha=True), has_alpha=True) == content
    opaque = content._replace(alpha=b"")
    assert unpack(pack(opaque, has_alpha=False), has_alpha=False) == opaque


@given(st.binary(min_size=1, max_size=60), st.booleans())
def test_any_bytes_are_a_tile_that_packs_to_them_or_a_format_error(data, has_alpha):
    try:
        content = unpack(data, has_alpha)
    except FormatError as error:
        assert "\n" not in str(error)
    else:
        assert pack(content, has_alpha) == data


@pytest.mark.parametrize(
    ("method", "has_latents", "hides_signs"),
    [(LATENTS, True, False), (WEBP, False, False), (ONE_COLOUR, False, False), (LATENTS_HIDING_SIGNS, True, True)],
)
def test_the_method_says_whether_there_are_latents_and_hidden_signs(method, has_latents, hides_signs):
    content = TileContent(method, b"abc")
    assert (content.has_latents, content.hides_signs) == (has_latents, hides_signs)


@pytest.mark.parametrize("data", [bytes([LATENTS_HIDING_SIGNS + 1]), bytes([ONE_COLOUR]) + b"\1\2", b"\xff123"])
def test_an_unknown_method_or_a_colour_of_another_length_is_refused(data):
    with pytest.raises(FormatError, match="method|three bytes"):
        unpack(data, has_alpha=False)


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x01", b"\x00\xff\xff\xff\xff", b"\x00\x03\x00\x00\x00ab"])
def test_a_tile_that_ends_inside_its_alpha_is_refused(data):
    with pytest.raises(FormatError, match="inside its alpha"):
        unpack(data, has_alpha=True)
