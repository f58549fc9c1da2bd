"""The wheel holds the library, the command and the networks, with their data, and nothing else."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import codec

ROOT = Path(__file__).parents[1]
FOLDERS = {"cli": "codec_cli", "codec": "codec", "models": "codec_models"}
"""Folders of the project, and the names that their packages are imported by."""


def project_files() -> list[str]:
    """The paths of the project's files, without build results. Skips the test outside a Git checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a Git checkout")
    return sorted(path for path in listing.splitlines() if (ROOT / path).is_file())


def is_report(path: str) -> bool:
    """Whether a file is a text about experiments, which is not installed."""
    return path.startswith("models/") and path.endswith(".md")


def installed_name(path: str) -> str:
    """The path in the wheel of a file in one of ``FOLDERS``."""
    folder, _, rest = path.partition("/")
    return f"{FOLDERS[folder]}/{rest}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the project's files."""
    folder = tmp_path_factory.mktemp("package")
    for path in project_files():
        (folder / "project" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / "project" / path)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels"]
    result = subprocess.run([*build, "./project"], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (path,) = (folder / "wheels").iterdir()
    return path


@pytest.fixture(scope="module")
def unpacked(wheel):
    """The folder of the unpacked wheel."""
    folder = wheel.parent.parent / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def dist_info(unpacked: Path, name: str) -> str:
    """The text of a file in the wheel's metadata folder."""
    return (unpacked / f"neural_image_codec-{codec.__version__}.dist-info" / name).read_text(encoding="utf-8")


def test_the_wheel_installs_only_names_that_begin_with_codec(unpacked):
    names = {path.name for path in unpacked.iterdir()}
    assert names == {*FOLDERS.values(), f"neural_image_codec-{codec.__version__}.dist-info"}


def test_every_file_of_the_packages_and_no_other_is_in_the_wheel(unpacked):
    files = [path for path in project_files() if path.partition("/")[0] in FOLDERS and not is_report(path)]
    installed = [path.relative_to(unpacked).as_posix() for path in unpacked.glob("codec*/**/*") if path.is_file()]
    assert sorted(installed) == sorted(map(installed_name, files))
    data = {
        "codec/py.typed",
        "codec/container/FORMAT.md",
        "codec/evaluation/report/page.html",
        "codec/pretrained/base.nicm",
        "codec/pretrained/small.nicm",
        "codec_models/training/recipes/base.toml",
    }
    assert data <= set(installed)


def test_the_metadata_name_the_command_the_licence_and_the_readme(unpacked):
    assert "codec = codec_cli.app:main" in dist_info(unpacked, "entry_points.txt")
    metadata = dist_info(unpacked, "METADATA")
    for line in ("License-Expression: BSD-3-Clause", "License-File: LICENSE", "Requires-Python: >=3.11"):
        assert f"\n{line}\n" in metadata
    assert "# Neural image codec" in metadata
    assert "Redistribution and use" in dist_info(unpacked, "licenses/LICENSE")


def test_the_command_starts_from_the_wheel_without_torch(unpacked):
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(unpacked)!r})\n"
        "sys.modules['torch'] = None\n"  # an import of torch raises ImportError
        "import codec, codec_cli.app\n"
        "print(codec.__file__)\n"
        "sys.argv = ['codec', 'models']\n"
        "codec_cli.app.main()\n"
    )
    result = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, cwd=unpacked.parent)
    assert result.returncode == 0, result.stderr
    path, *lines = result.stdout.splitlines()
    assert Path(path) == unpacked / "codec" / "__init__.py"
    assert [line.split()[0] for line in lines if "  id " in line] == ["base", "eye", "small"]


def test_every_dependency_has_a_pin_that_it_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in map(Requirement, sum(groups, [])):
        if requirement.name == project["name"]:
            continue
        versions = [pin.specifier for pin in pins if pin.name == requirement.name]
        assert versions, f"constraints.txt does not name {requirement.name}"
        for pin in versions:
            (specifier,) = pin
            assert specifier.operator == "==" and requirement.specifier.contains(specifier.version), requirement
