import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from codec.errors import CodecError
from codec_cli.extras import require_train_extra
from command_line import run

SAMPLES = Path(__file__).parents[2] / "samples"


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("codec_cli.extras.find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(CodecError, match=r"torch not installed: pip install 'neural-image-codec\[train\]'"):
        require_train_extra()


def test_output_into_a_pipe_has_no_colours(picture_file, model):
    for arguments in (["--help"], ["encode", "--help"], ["encode", "none.png", *model], ["info", "none"]):
        result = run(*arguments)
        assert b"\x1b[" not in result.stdout + result.stderr


def test_every_command_shows_an_example():
    for command in ("encode", "decode", "info", "eval", "train", "export", "models"):
        assert b"Example: codec" in run(command, "--help").stdout


def test_help_loads_no_heavy_package():
    asked = (
        "import sys; from codec_cli.app import app; app(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    )
    modules = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True).stdout.decode()
    assert "'typer'" in modules
    for name in ("numpy", "PIL", "onnxruntime", "rich", "torch"):
        assert f"'{name}'" not in modules


def test_models_are_listed_with_their_figures():
    parts = re.split(r"^(\w+)  id ", run("models").stdout.decode(), flags=re.MULTILINE)
    assert parts[1::2] == ["base", "eye", "small"]
    for card in parts[2::2]:
        assert "data: " in card
        lines = [line.split() for line in card.splitlines()]
        start = lines.index(["quality", "bpp", "psnr", "ms_ssim"])
        figures = np.array([[float(x) for x in line] for line in lines[start + 1 : start + 7]])
        assert (np.diff(figures, axis=0) > 0).all()  # more bits, higher PSNR and MS-SSIM, with every quality
