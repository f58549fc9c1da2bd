"""codec decode"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import typer

from cli.session import for_each, load_codec, output_path, read_input, session, write_output

DEFAULT_FORMAT = "png"


def pillow_format(extension: str) -> str:
    """Pillow's name of the format that files with ``extension`` have. Raises CodecError when it writes none."""
    from PIL import Image

    from codec.errors import CodecError

    kind = Image.registered_extensions().get(f".{extension.lower()}")
    if kind not in Image.SAVE:
        raise CodecError(f"Pillow writes no pictures of the kind {extension!r}")
    return kind


def decode(
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help=".nic files, or - for standard input.")],
    output: Annotated[str | None, typer.Option("-o", help="A file, a folder, or -.")] = None,
    format: Annotated[str | None, typer.Option(help="png, webp, tiff, ...: any that Pillow writes.")] = None,
    model: Annotated[str | None, typer.Option(help="An installed model's name, or a .nicm file.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="0: one for each core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
) -> None:
    """Decode .nic files to pictures.  Example: codec decode photo.nic -o photo.png"""

    def work(name: str) -> None:
        target = output_path(name, output, f".{format or DEFAULT_FORMAT}", len(inputs) > 1)
        kind = pillow_format(format or Path(target).suffix[1:] or DEFAULT_FORMAT)
        picture = coder.decode(read_input(name))
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        write_output(target, buffer.getvalue(), overwrite)
        session.say(f"{name}: {picture.width}x{picture.height} -> {target}")

    coder = load_codec(model, threads)
    for_each(inputs, work)
