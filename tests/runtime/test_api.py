"""The library: round trips of any picture, limits, and what encoding and decoding leave behind."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from codec import Codec, CodecError, LimitError
from codec.api import shared_codec
from codec.metrics import psnr
from codec.networks.model import load_model
from conftest import made_picture


@settings(max_examples=25)
@given(st.integers(1, 150), st.integers(1, 150), st.booleans(), st.booleans(), st.floats(0, 100))
def test_a_picture_of_any_size_comes_back_at_any_quality(tiny, width, height, is_grey, fallback, quality):
    pixels = made_picture(width, height)
    pixels = pixels[..., 0] if is_grey else pixels
    data, latents = tiny.encode_with_latents(pixels, quality, fallback=fallback)
    picture = tiny.decode(data)
    assert picture.size == (width, height) and picture.mode == ("L" if is_grey else "RGB")
    assert np.array_equal(tiny.decode_latents(data)[1], latents)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.filterwarnings("error")
def test_a_single_row_or_column_of_pixels_raises_no_warning(tiny, size):
    tiny.encode(made_picture(*size), 50)


def test_psnr_and_size_rise_with_quality(tiny):
    pixels = made_picture(256, 192)
    files = [tiny.encode(pixels, quality, fallback=False) for quality in (0, 50, 100)]
    psnrs = [psnr(pixels, np.asarray(tiny.decode(data))) for data in files]
    sizes = [len(data) for data in files]
    assert sorted(psnrs) == psnrs and sorted(sizes) == sizes


def test_latents_are_identical_for_all_threads_and_graph_optimisations(tiny, tiny_model_path):
    data, latents = tiny.encode_with_latents(made_picture(300, 200), 70, fallback=False)
    for threads in (1, 2):
        for optimize in (False, True):
            other = Codec(str(tiny_model_path), threads=threads, optimize=optimize)
            assert np.array_equal(other.decode_latents(data)[1], latents)


def test_any_damage_is_a_codec_error(tiny):
    data = tiny.encode(made_picture(40, 40), 30)
    for position in range(0, 8 * len(data), 3):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(CodecError):
            tiny.decode(bytes(damaged))


def test_pictures_beyond_the_limits_are_refused_before_anything_is_computed(tiny):
    row = np.zeros((1, 65536, 3), np.uint8)
    with pytest.raises(LimitError, match="sides go up to 65535"):
        tiny.encode(row)
    repeated = np.lib.stride_tricks.as_strided(row, (20000, 20000, 3), (0, 0, 1))
    with pytest.raises(LimitError, match="readers take"):
        tiny.encode(repeated)


PACKAGE_USES = {
    "as attributes, twice": "import codec; use(codec.encode, codec.decode); use(codec.encode, codec.decode)",
    "imported by name": "from codec import encode, decode; use(encode, decode)",
    "beside Codec": "from codec import Codec; import codec; use(codec.encode, codec.decode)",
    "after a module of the decoder": "import codec.decoding.decoder; import codec; use(codec.encode, codec.decode)",
    "after a module of the encoder": "from codec.encoding import plan; import codec; use(codec.encode, codec.decode)",
}


@pytest.mark.parametrize("lines", PACKAGE_USES.values(), ids=PACKAGE_USES)
def test_the_package_encodes_and_decodes_however_it_is_imported(tiny_model_path, lines):
    code = (
        "import sys\nimport numpy as np\n\n"
        "def use(encode, decode):\n"
        "    data = encode(np.zeros((20, 30, 3), np.uint8), 40, sys.argv[1])\n"
        "    assert decode(data, sys.argv[1]).size == (30, 20)\n\n"
    ) + lines
    result = subprocess.run([sys.executable, "-c", code, tiny_model_path], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr.splitlines()[-1]


def test_the_package_has_all_names_that_it_lists_and_no_others():
    assert all(hasattr(codec, name) for name in codec.__all__)
    with pytest.raises(AttributeError, match="no attribute"):
        codec.absent  # noqa: B018


def test_encoding_and_decoding_load_no_torch_and_leave_nothing_in_the_home_folder(tiny_model_path, tmp_path):
    code = (
        "import codec, sys, numpy as np\n"
        f"c = codec.Codec({str(tiny_model_path)!r})\n"
        "c.decode(c.encode(np.zeros((30, 30, 3), np.uint8)))\n"
        "assert 'torch' not in sys.modules and 'compressai' not in sys.modules\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    env = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    assert list(home.rglob("*")) == []


def test_a_file_is_taken_as_any_kind_of_bytes_as_a_path_or_from_an_open_file(tiny, tmp_path):
    data = tiny.encode(made_picture(50, 40), 30)
    path = tmp_path / "a.nic"
    path.write_bytes(data)
    inside = io.BytesIO(b"before" + data)
    inside.seek(6)
    expected = np.asarray(tiny.decode(data))
    for source in (bytearray(data), memoryview(data), str(path), path, inside):
        assert np.array_equal(np.asarray(tiny.decode(source)), expected)
        assert tiny.salvage(data)[1] == []


def test_a_file_is_read_from_a_pipe(tiny):
    data = tiny.encode(made_picture(50, 40), 30)
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert tiny.decode(pipe).size == (50, 40)


def test_a_picture_is_taken_by_its_path(tiny, picture_file):
    assert tiny.encode(picture_file, 30) == tiny.encode(str(picture_file), 30)
    assert tiny.decode(tiny.encode(picture_file, 30)).size == (100, 70)


def test_a_path_that_leads_nowhere_is_a_codec_error(tiny, tmp_path):
    for work in (tiny.encode, tiny.decode, tiny.salvage):
        with pytest.raises(CodecError, match="No such file"):
            work(tmp_path / "none")


def test_the_functions_load_a_model_once(tiny_model_path, monkeypatch):
    loaded = []
    monkeypatch.setattr("codec.api.load_model", lambda name: loaded.append(name) or load_model(name))
    shared_codec.cache_clear()
    data = [codec.encode(made_picture(20, 20), 30, str(tiny_model_path)) for _ in range(3)]
    assert codec.decode(data[0], str(tiny_model_path)).size == (20, 20)
    assert loaded == [str(tiny_model_path)]
