"""Writing outputs: a file is written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from codec.errors import CodecError


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn an OSError while ``path`` is written into a CodecError."""
    try:
        yield
    except OSError as error:
        raise CodecError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_free(path: Path, overwrite: bool) -> None:
    """Raise CodecError where a file is in the way, without ``overwrite``: for use before long work."""
    with _writing(path):
        exists = path.is_file()
    if exists and not overwrite:
        raise CodecError(f"{path}: already there (use --overwrite to replace it)")


def write_file(path: Path, data: bytes, overwrite: bool = False) -> None:
    """Write to a temporary file beside ``path`` and rename it, so that no one ever sees half a file.

    A symbolic link stays one: its target is replaced. Devices and pipes are written to directly.

    Raises:
        CodecError: when the file is there already (without ``overwrite``) or cannot be written.
    """
    with _writing(path):
        path = path.resolve()
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
    check_free(path, overwrite)
    temporary = None
    try:
        with _writing(path):
            handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".partial", dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, path)
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
