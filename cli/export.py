"""codec export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.session import run_or_exit, session


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="What codec train wrote.")],
    output: Annotated[Path, typer.Option("-o", help="The .nicm file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
) -> None:
    """Make a model file, proving its exactness.  Example: codec export runs/mine/checkpoint.pt -o mine.nicm"""

    def work() -> None:
        from cli.train import require_train_extra

        require_train_extra()
        from codec.files import write_file
        from models.export import export as run

        data = run(checkpoint, output.stem)
        write_file(output, data, overwrite)
        session.say(f"{output}: {len(data)} bytes")

    run_or_exit(work)
