import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import Codec, CodecError, FormatError
from codec.container import nic
from codec.metrics import psnr
from codec.networks import model as model_file
from codec.networks.engine import Engine
from codec.networks.model import read_model
from conftest import made_picture


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.booleans(), st.booleans(), st.floats(0, 100))
def test_any_size_and_quality_comes_back(tiny, width, height, grey, fallback, quality):
    pixels = made_picture(width, height)
    pixels = pixels[..., 0] if grey else pixels
    data, latents = tiny.encode_with_latents(pixels, quality, fallback=fallback)
    picture = tiny.decode(data)
    assert picture.size == (width, height) and picture.mode == ("L" if grey else "RGB")
    assert np.array_equal(tiny.decode_latents(data)[1], latents)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.filterwarnings("error")
def test_a_single_row_or_column_of_pixels_raises_no_warning(tiny, size):
    tiny.encode(made_picture(*size), 50)


def test_psnr_and_size_rise_with_quality(tiny):
    pixels = made_picture(256, 192)
    files = [tiny.encode(pixels, q, fallback=False) for q in (0, 50, 100)]
    losses = [psnr(pixels, np.asarray(tiny.decode(f))) for f in files]
    assert sorted(losses) == losses and sorted(map(len, files)) == [len(f) for f in files]


def test_tiles_of_a_large_picture_leave_no_seam(tiny, tiny_model_path):
    pixels = made_picture(1100, 90)
    data, latents = tiny.encode_with_latents(pixels, 60, fallback=False)
    tiled = np.asarray(tiny.decode(data)).astype(int)
    quality = np.array([0.6], np.float32)
    engine = Engine(tiny.model, threads=1)
    whole = engine.run("synthesis", y_hat=latents[None] / 16, quality=quality)[0][0]
    untiled = (whole * 255 + 0.5).clip(0, 255).astype(int)[:, :90, :1100].transpose(1, 2, 0)
    assert abs(tiled - untiled).max() <= 1


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


def test_a_file_of_another_model_names_the_id(tiny, tiny_model_path):
    found = nic.reader(tiny.encode(made_picture(40, 40)))
    other = nic.write(dataclasses.replace(found.header, model_id=b"\x00" * 8), [found.tile(0)])
    with pytest.raises(CodecError, match="0000000000000000"):
        tiny.decode(other)
    with pytest.raises(CodecError, match="0000000000000000"):
        Codec().decode(other)


def test_a_file_finds_its_model_among_those_installed_damaged_ones_beside_it(
    tiny, tiny_model_path, tmp_path, monkeypatch
):
    data = tiny.encode(made_picture(70, 90), 50)
    model = tiny_model_path.read_bytes()
    (tmp_path / "damaged.nicm").write_bytes(model[:1000])
    (tmp_path / "other.nicm").write_bytes(model + b"\0")
    monkeypatch.setattr(model_file, "PRETRAINED", tmp_path)
    with pytest.raises(CodecError, match=tiny.model.model_id.hex()):
        Codec().decode(data)
    (tmp_path / "tiny.nicm").write_bytes(model)
    assert np.array_equal(Codec().decode(data), tiny.decode(data))


@pytest.mark.parametrize("keep", [0, 10, 1000, 50000])
def test_a_damaged_model_file_is_refused(tiny_model_path, keep):
    with pytest.raises(FormatError):
        read_model(tiny_model_path.read_bytes()[:keep])


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
