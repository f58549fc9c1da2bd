"""codec decode"""

from __future__ import annotations

import io
from typing import Annotated

import typer

from cli.session import for_each, load_codec, output_path, read_input, session, write_output


def decode(
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help=".nic files, or - for standard input.")],
    output: Annotated[str | None, typer.Option("-o", help="A file, a folder, or -.")] = None,
    format: Annotated[str | None, typer.Option(help="png, webp, tiff, ...: any that Pillow writes.")] = None,
    model: Annotated[str | None, typer.Option(help="An installed model's name, or a .nicm file.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="0: one for each core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
) -> None:
    """Decode .nic files to pictures.  Example: codec decode photo.nic -o photo.png"""
    from pathlib import Path

    from PIL import Image

    from codec.errors import CodecError

    def work(name: str) -> None:
        target = output_path(name, output, f".{format or 'png'}", len(inputs) > 1)
        suffix = f".{format}" if format or target == "-" else Path(target).suffix.lower()
        suffix = ".png" if suffix in ("", ".None") else suffix
        kind = Image.registered_extensions().get(suffix)
        if kind not in Image.SAVE:
            raise CodecError(f"{target}: Pillow writes no pictures of the kind {suffix!r}")
        picture = coder.decode(read_input(name))
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        write_output(target, buffer.getvalue(), overwrite)
        session.say(f"{name}: {picture.width}x{picture.height} -> {target}")

    coder = load_codec(model, threads)
    for_each(inputs, work)
