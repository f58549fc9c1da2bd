"""Every command and every line of Python that the documentation shows is run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import HAS_TRAIN

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def project_copy(tmp_path):
    """A folder with what the examples name, and a ``codec`` command."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples", ignore=shutil.ignore_patterns("readme"))
    shutil.copytree(ROOT / "models" / "training" / "recipes", tmp_path / "models" / "training" / "recipes")
    command = tmp_path / "bin" / "codec"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m codec_cli "$@"\n')
    command.chmod(0o755)
    path = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return tmp_path, {**os.environ, **path}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_run(page, project_copy):
    if page.stem == "train" and not HAS_TRAIN:
        pytest.skip("the page's commands need the extra 'train'")
    folder, environment = project_copy
    shell, python = blocks(page, "sh"), blocks(page, "python")
    assert shell or python
    for command, text in ((["sh", "-eu"], "\n".join(shell)), ([sys.executable, "-"], "\n".join(python))):
        result = subprocess.run(command, input=text, text=True, cwd=folder, env=environment, capture_output=True)
        assert result.returncode == 0, result.stderr


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", *PAGES]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
