"""Standard error of commands that import torch, each in a process of its own: the last line is the command's."""

import subprocess
import sys

import pytest
from PIL import Image

from conftest import GOLDEN, made_picture

START = """
import sys
from codec_cli.app import main
from codec_models.training.trainer import Trainer
Trainer.fit = lambda trainer: None  # takes most of the time of a short training
main()
"""


def last_line(*arguments):
    """The last line that a command of ``codec`` writes to standard error; it must succeed."""
    command = [sys.executable, "-c", START, *map(str, arguments)]
    result = subprocess.run(command, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["train", "export"])
def test_libraries_write_nothing_after_the_last_line_of_a_command(command, tmp_path):
    if command == "export":
        path = tmp_path / "tiny.nicm"
        assert last_line("export", GOLDEN / "tiny.pt", "-o", path) == f"{path}: {path.stat().st_size} bytes"
        return
    (tmp_path / "data").mkdir()
    Image.fromarray(made_picture(64, 64)).save(tmp_path / "data" / "picture.png")
    recipe = tmp_path / "recipe.toml"
    sizes = dict.fromkeys(("latents", "width8", "width16", "hyper_width", "parameter_width", "context_width"), 16)
    recipe.write_text(
        "steps = 1\nbatch = 1\ncrop = 64\n[architecture]\n" + "".join(f"{k} = {v}\n" for k, v in sizes.items())
    )
    line = last_line("train", tmp_path / "data", "--out", tmp_path, "--recipe", recipe, "--device", "cpu")
    assert line == f"checkpoint: {tmp_path / 'checkpoint.pt'}"
