"""What all commands share: general options, errors as one line, inputs and outputs, batches."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import typer

from codec.errors import CodecError

if TYPE_CHECKING:
    from codec.api import Codec

Result = TypeVar("Result")


@dataclass
class Session:
    """The options that work with every command."""

    quiet: bool = False
    verbose: bool = False
    debug: bool = False

    def say(self, text: str) -> None:
        """A message on standard error, unless quiet."""
        if not self.quiet:
            typer.echo(text, err=True)


session = Session()
FAILURES = (CodecError, ValueError, OSError, MemoryError)
"""Errors of bad input, which are answered with one line."""


def fail(error: Exception) -> None:
    """Print an error as one line on standard error; with --debug, raise it."""
    if session.debug:
        raise error
    typer.echo("codec: " + " ".join(str(error).split()), err=True)


def run_or_exit(work: Callable[[], Result]) -> Result:
    """The result of ``work``; exit with code 1 and one line when it fails on its input."""
    try:
        return work()
    except BrokenPipeError:
        raise  # the reader of our output has left: click ends quietly
    except FAILURES as error:
        fail(error)
        raise typer.Exit(1) from error


def load_codec(model: str | None, threads: int) -> Codec:
    """The codec for a command; exit with code 1 and one line when its model cannot be loaded."""
    from codec.api import Codec

    return run_or_exit(lambda: Codec(model, threads))


def open_input(name: str) -> BinaryIO:
    """A file opened for reading, or standard input's content for ``-``. Raises CodecError."""
    if name == "-":
        return io.BytesIO(sys.stdin.buffer.read())
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise CodecError(f"{name}: {error.strerror}") from error


def read_input(name: str) -> bytes:
    """The bytes of an input. Raises CodecError."""
    with open_input(name) as file:
        return file.read()


def with_progress(inputs: list[str]) -> Iterable[str]:
    """The inputs one by one, with a progress bar where there are several and standard error is a terminal."""
    if len(inputs) < 2 or session.quiet or not sys.stderr.isatty():
        return inputs
    from rich.console import Console
    from rich.progress import track

    return track(inputs, description="", console=Console(stderr=True), transient=True)


def for_each(inputs: list[str], work: Callable[[str], None]) -> None:
    """Run ``work`` on every input. Failures are printed at once; after all inputs they make the exit code 1."""
    failed = []
    for name in with_progress(inputs):
        start = time.perf_counter()
        try:
            work(name)
            if session.verbose:
                session.say(f"{name}: {time.perf_counter() - start:.2f} s")
        except BrokenPipeError:
            raise
        except FAILURES as error:
            fail(error if name == "-" or name in str(error) else CodecError(f"{name}: {error}"))
            failed.append(name)
    if failed:
        if len(inputs) > 1:
            session.say(f"codec: {len(failed)} of {len(inputs)} failed: {', '.join(failed)}")
        raise typer.Exit(1)
