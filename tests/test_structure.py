"""Which file may import which: floors of the library, rooms of the models, and what the commands use.

The tests read the ``import`` statements of all files, also those inside functions and under ``TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"codec": ROOT / "codec", "codec_models": ROOT / "models", "codec_cli": ROOT / "cli"}
"""The folder of each package."""
CODEC_FLOORS = (
    "errors",
    "geometry",
    "metrics",
    "entropy",
    "pictures",
    "container",
    "networks",
    "decoding",
    "encoding",
    "api",
    "evaluation",
    "pillow",
)
"""Files and folders of codec/, the lowest first: each imports only from itself and from those below."""
MODEL_FLOORS = ("quantization", "networks", "training", "export")
"""Folders of models/, in the same order."""
TRAINING_PACKAGES = {"torch", "compressai", "lightning", "pytorch_lightning", "onnx", "pydantic"}
MAX_LINES = 300


class Import(NamedTuple):
    """One import statement, or one name of it."""

    file: Path
    line: int
    module: str
    is_in_function: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def is_module(name: str) -> bool:
    """Whether a dotted name below one of ``FOLDERS`` is a file or a folder."""
    package, *parts = name.split(".")
    path = FOLDERS[package].joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports_in(file: Path) -> list[Import]:
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    in_functions = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relative to its own folder"
            modules = [_module_of(node.module, alias.name) for alias in node.names]
        else:
            continue
        imports += [Import(file, node.lineno, module, node in in_functions) for module in modules]
    return imports


def _module_of(module: str, name: str) -> str:
    """What ``from module import name`` imports: a module of this project, or something in ``module``."""
    inner = f"{module}.{name}"
    return inner if module.split(".")[0] in FOLDERS and is_module(inner) else module


def files_of(package: str) -> list[Path]:
    return sorted(FOLDERS[package].rglob("*.py"))


@cache
def imports_of(package: str) -> list[Import]:
    return [statement for file in files_of(package) for statement in imports_in(file)]


def package_of(module: str) -> str:
    return module.split(".")[0]


def room_of_file(file: Path, package: str) -> str:
    """The file or folder of the package that a file is, or lies in; the package's name for its ``__init__``."""
    first = file.relative_to(FOLDERS[package]).parts[0].removesuffix(".py")
    return package if first == "__init__" else first


def room_of_module(module: str) -> str:
    """As ``room_of_file``, for a dotted name; the package's name for what its ``__init__`` holds."""
    package, *parts = module.split(".")
    return parts[0] if parts and is_module(f"{package}.{parts[0]}") else package


def upward_imports(package: str, floors: tuple[str, ...]) -> list[str]:
    """Imports of rooms above; the package's ``__init__`` stands above all others."""
    level = {room: i for i, room in enumerate((*floors, package))}
    return [
        str(statement)
        for statement in imports_of(package)
        if package_of(statement.module) == package
        and level[room_of_module(statement.module)] > level[room_of_file(statement.file, package)]
    ]


def imports_of_packages(package: str, others: set[str]) -> list[Import]:
    return [statement for statement in imports_of(package) if package_of(statement.module) in others]


@pytest.mark.parametrize(("package", "floors"), [("codec", CODEC_FLOORS), ("codec_models", MODEL_FLOORS)])
def test_every_file_stands_on_a_floor(package, floors):
    rooms = {room_of_file(file, package) for file in files_of(package)} - {package}
    assert rooms == set(floors)


@pytest.mark.parametrize(("package", "floors"), [("codec", CODEC_FLOORS), ("codec_models", MODEL_FLOORS)])
def test_files_import_only_from_their_own_room_and_from_rooms_below(package, floors):
    assert upward_imports(package, floors) == []


def test_the_library_never_imports_models_commands_or_packages_for_training():
    forbidden = imports_of_packages("codec", {"codec_models", "codec_cli", *TRAINING_PACKAGES})
    assert list(map(str, forbidden)) == []


def test_models_import_nothing_of_the_commands():
    assert list(map(str, imports_of_packages("codec_models", {"codec_cli"}))) == []


def test_commands_import_models_only_in_the_functions_of_training_and_export():
    forbidden = [
        str(statement)
        for statement in imports_of_packages("codec_cli", {"codec_models"})
        if not statement.is_in_function or statement.file.stem not in ("train", "export")
    ]
    assert forbidden == []


def test_commands_import_no_packages_for_training():
    assert list(map(str, imports_of_packages("codec_cli", TRAINING_PACKAGES))) == []


def test_decoding_loads_no_module_of_the_encoder():
    code = (
        "import sys\n"
        "import codec.decoding.decoder, codec.decoding.latents, codec.decoding.post_filter, codec.decoding.webp\n"
        "print(*sorted(name for name in sys.modules if name.startswith('codec.encoding')))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_the_library_loads_without_packages_for_training():
    code = (
        "import sys\n"
        f"for name in {sorted(TRAINING_PACKAGES)}: sys.modules[name] = None\n"
        "import codec.api, codec.pillow, codec.evaluation.evaluate, codec.evaluation.report\n"
        "assert not any(name.split('.')[0] in ('codec_models', 'codec_cli') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", FOLDERS)
def test_no_file_is_longer_than_300_lines(package):
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files_of(package)
    }
    assert {file: length for file, length in lengths.items() if length > MAX_LINES} == {}


def test_imports_of_every_kind_are_read(tmp_path):
    file = tmp_path / "example.py"
    file.write_text(
        "import codec.api\nfrom codec.container import nic\nfrom codec.errors import FormatError\n"
        "from codec import Codec\n\ndef late():\n    import torch.nn\n"
    )
    imports = [(statement.module, statement.is_in_function) for statement in imports_in(file)]
    assert imports == [
        ("codec.api", False),
        ("codec.container.nic", False),
        ("codec.errors", False),
        ("codec", False),
        ("torch.nn", True),
    ]
    assert [room_of_module(module) for module, _ in imports[:4]] == ["api", "container", "errors", "codec"]
