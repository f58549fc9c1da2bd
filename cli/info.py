"""codec info"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from codec_cli.session import read_input, run_or_exit


def info(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .nic file, or -.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what a .nic file holds.  Example: codec info photo.nic"""

    def work() -> None:
        from collections import Counter

        from codec.container import nic
        from codec.container.tile import METHODS_WITH_LATENTS, ONE_COLOUR, WEBP, unpack

        data = read_input(file)
        reader = nic.reader(data)
        header = reader.header
        methods = Counter(unpack(reader.tile(index), header.alpha).method for index in range(header.tiles))
        facts = {
            "width": header.width,
            "height": header.height,
            "mode": ("L" if header.grey else "RGB") + "A" * header.alpha,
            "quality": header.hundredths / 100,
            "model": header.model_id.hex(),
            "version": nic.VERSION,
            "tiles": header.tiles,
            "tile_size": header.tile_size,
            "latent_tiles": sum(methods[method] for method in METHODS_WITH_LATENTS),
            "webp_tiles": methods[WEBP],
            "one_colour_tiles": methods[ONE_COLOUR],
            "post_filter": len(header.post_filter),
            "metadata": {name: len(content) for name, content in reader.metadata().items()},
            "bytes": len(data),
            "bpp": round(8 * len(data) / (header.width * header.height), 4),
        }
        lines = [json.dumps(facts)] if as_json else [f"{name:17} {value}" for name, value in facts.items()]
        typer.echo("\n".join(lines))

    run_or_exit(work)
