"""codec export"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from codec_cli.extras import require_train_extra
from codec_cli.session import run_or_exit, session


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="What codec train wrote.")],
    output: Annotated[Path, typer.Option("-o", help="The .nicm file to write.")],
    card: Annotated[Path | None, typer.Option(help="A JSON object for the model card.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
) -> None:
    """Make a model file, proving its exactness.  Example: codec export runs/mine/checkpoint.pt -o mine.nicm"""

    def work() -> None:
        require_train_extra()
        from codec.errors import CodecError
        from codec_cli.outputs import check_free, write_file
        from codec_models.export.export import export as run

        check_free(output, overwrite)
        facts = json.loads(card.read_text(encoding="utf-8")) if card else {}
        if not isinstance(facts, dict):
            raise CodecError(f"{card}: a model card is a JSON object")
        data = run(checkpoint, output.stem, facts)
        write_file(output, data, overwrite)
        session.say(f"{output}: {len(data)} bytes")

    run_or_exit(work)
