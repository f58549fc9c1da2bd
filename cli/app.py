"""The application: the options that work everywhere, and the commands."""

from __future__ import annotations

import gc
import logging
import sys
import warnings
from typing import Annotated

import typer

import codec
from codec_cli.decode import decode
from codec_cli.encode import encode
from codec_cli.evaluate import evaluate
from codec_cli.export import export
from codec_cli.info import info
from codec_cli.models import models
from codec_cli.session import session
from codec_cli.train import train

# Plain help: drawing it with rich takes twice as long as everything else.
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"codec {codec.__version__}")
        raise typer.Exit()


@app.callback()
def options(
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Also say how long each input took.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback for an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """A learned image codec: one model for every rate, bit-exact decoding."""
    session.quiet, session.verbose, session.debug = quiet, verbose, debug
    if not debug:  # warnings of libraries are for their callers
        warnings.simplefilter("ignore")
        logging.disable()


app.command()(encode)
app.command()(decode)
app.command()(info)
app.command("eval")(evaluate)
app.command()(train)
app.command()(export)
app.command()(models)


def options_first(arguments: list[str]) -> list[str]:
    """Move the options that work everywhere before the command: Typer accepts them only there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    general = [a for a in arguments[:end] if a in ("--quiet", "--verbose", "--debug")]
    return general + [a for a in arguments[:end] if a not in general] + arguments[end:]


def main() -> None:
    """The entry point of the ``codec`` command."""
    try:
        app(options_first(sys.argv[1:]))
    finally:
        # Collecting objects at exit takes a sixth of a decoding, and the process ends anyway. After training it is
        # needed: otherwise the binding library of triton, which torch imports, reports leaks on standard error.
        if "torch" not in sys.modules:
            gc.freeze()
