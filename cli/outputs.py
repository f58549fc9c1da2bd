"""Outputs: where a result goes, and writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from codec.errors import CodecError

STREAMS = ("/dev/stdout", "/dev/fd/", "/proc/self/fd/")
"""Names of open streams begin with one of these."""


class Targets:
    """Where the results of a command's inputs go; no two of them meet in one file.

    Args:
        out: a file, a folder, or ``-``; None puts results beside their inputs.
        suffix: of results whose names follow from the inputs'.
        are_several: whether there are several inputs, so that ``out`` must be a folder.
        overwrite: replace files that exist.
        spare_originals: without ``out``, replace no file that is older than its input: it may be what that was made of.
    """

    def __init__(
        self, out: str | None, suffix: str, *, are_several: bool, overwrite: bool, spare_originals: bool = False
    ) -> None:
        self._out, self._suffix = out, suffix
        self._are_several, self._overwrite, self._spare_originals = are_several, overwrite, spare_originals
        self._inputs: dict[Path, str] = {}

    def of(self, name: str) -> str:
        """The output for input ``name``.

        Raises:
            CodecError: when the folder does not exist, the result of another input is there, or a file is in the way.
        """
        target = self._path(name)
        if target == "-" or target.startswith(STREAMS):
            return target
        path = Path(target)
        check_free(path, self._overwrite)
        resolved = path.resolve()
        if path.is_file() or not path.exists():  # not a device
            if resolved in self._inputs:
                raise CodecError(f"{target}: also the output of {self._inputs[resolved]}")
            if self._out is None and self._spare_originals and _is_older(path, Path(name)):
                raise CodecError(
                    f"{target}: older than {name}, so perhaps its original (name it with -o to replace it)"
                )
            self._inputs[resolved] = name
        return target

    def _path(self, name: str) -> str:
        suffix = self._suffix
        if self._out is None:
            return "-" if name == "-" else str(Path(name).with_suffix(suffix))
        if self._are_several or self._out.endswith(("/", os.sep)) or Path(self._out).is_dir():
            if not Path(self._out).is_dir():
                raise CodecError(f"{self._out}: no such folder")
            return str(Path(self._out) / (Path(name).stem + suffix))
        return self._out


def _is_older(path: Path, other: Path) -> bool:
    try:
        return path.stat().st_mtime_ns < other.stat().st_mtime_ns
    except OSError:
        return False


def write_output(target: str, data: bytes, overwrite: bool) -> None:
    """Write to a file, or to a stream; ``-`` is standard output. Raises CodecError."""
    if target == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_file(Path(target), data, overwrite)


def check_free(path: Path, overwrite: bool) -> None:
    """Raise CodecError where a file is in the way, without ``overwrite``: for use before long work."""
    with _writing(path):
        exists = path.is_file()
    if exists and not overwrite:
        raise CodecError(f"{path}: already there (use --overwrite to replace it)")


def write_file(path: Path, data: bytes, overwrite: bool = False) -> None:
    """Write to a temporary file beside ``path`` and rename it, so that no one ever sees half a file.

    A symbolic link stays one: its target is replaced. A replaced file keeps its permissions and, where that is allowed,
    its owner. Devices, pipes and open streams are written to directly, and so are files in a folder that cannot be
    written to.

    Raises:
        CodecError: when the file is there already (without ``overwrite``) or cannot be written.
    """
    with _writing(path):
        if str(path).startswith(STREAMS) or (path.exists() and not path.is_file()):
            path.write_bytes(data)
            return
        path = path.resolve()
    check_free(path, overwrite)
    with _writing(path):
        if path.exists() and not os.access(path.parent, os.W_OK):
            path.write_bytes(data)
            return
    temporary = None
    try:
        with _writing(path):
            handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".partial", dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            _copy_ownership(path, temporary)
            os.replace(temporary, path)
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _copy_ownership(path: Path, temporary: str) -> None:
    """Permissions and owner of the file at ``path``; those of a new file where there is none."""
    try:
        before = path.stat()
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        return
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):
            os.chown(temporary, before.st_uid, before.st_gid)
    os.chmod(temporary, stat.S_IMODE(before.st_mode))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn an OSError while ``path`` is written into a CodecError."""
    try:
        yield
    except OSError as error:
        raise CodecError(f"{path}: cannot be written: {error.strerror or error}") from error
