"""The command ``codec export``: a checkpoint to a model file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from codec_cli.extras import require_train_extra
from codec_cli.session import run_or_exit, session


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="The checkpoint that codec train wrote.")],
    output: Annotated[Path, typer.Option("-o", help="The .nicm file to write.")],
    card: Annotated[Path | None, typer.Option(help="A JSON object for the model card.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
) -> None:
    """Make a model file and prove it exact.  Example: codec export runs/mine/checkpoint.pt -o mine.nicm"""

    def work() -> None:
        require_train_extra()
        from codec.errors import ArgumentError
        from codec_cli.outputs import check_free, write_file
        from codec_models.export.export import export as export_model

        check_free(output, overwrite)
        card_values = json.loads(card.read_text(encoding="utf-8")) if card else {}
        if not isinstance(card_values, dict):
            raise ArgumentError(f"{card}: a model card is a JSON object")
        data = export_model(checkpoint, output.stem, card_values)
        write_file(output, data, overwrite)
        session.say(f"{output}: {len(data)} bytes")

    run_or_exit(work)
