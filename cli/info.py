"""codec info"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cli.session import read_input, run_or_exit


def info(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .nic file, or -.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a .nic file holds.  Example: codec info photo.nic"""

    def work() -> None:
        from codec import format

        data = read_input(file)
        header, streams = format.read(data)
        facts = {
            "width": header.width,
            "height": header.height,
            "mode": "L" if header.grey else "RGB",
            "quality": header.quality / 100,
            "model": header.model_id.hex(),
            "version": format.VERSION,
            "tiles": len(streams),
            "tile_size": header.tile_size,
            "bytes": len(data),
            "bpp": round(8 * len(data) / (header.width * header.height), 4),
        }
        lines = [json.dumps(facts)] if as_json else [f"{name:10} {value}" for name, value in facts.items()]
        typer.echo("\n".join(lines))

    run_or_exit(work)
