"""codec encode"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.session import for_each, load_codec, output_path, read_input, session, write_output


def encode(
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help="Pictures, or - for standard input.")],
    output: Annotated[str | None, typer.Option("-o", help="A file, a folder, or -.")] = None,
    quality: Annotated[float, typer.Option("-q", "--quality", min=0, max=100, help="0 small .. 100 best.")] = 50,
    model: Annotated[str | None, typer.Option(help="An installed model's name, or a .nicm file.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="0: one for each core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Leave out EXIF, XMP and colour profile.")] = False,
    first_frame: Annotated[bool, typer.Option("--first-frame", help="Take the first frame of animations.")] = False,
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="Never store tiles as WebP.")] = False,
) -> None:
    """Encode pictures to .nic files.  Example: codec encode photo.png -q 40"""
    from codec.model_file import DEFAULT
    from codec.pictures import open_picture

    def work(name: str) -> None:
        target = output_path(name, output, ".nic", len(inputs) > 1)
        picture = open_picture(
            read_input(name) if name == "-" else Path(name),
            first_frame=first_frame,
            note=lambda line: session.say(f"{name}: {line}"),
        )
        data = coder.encode(picture, quality, strip=strip, fallback=not no_fallback)
        write_output(target, data, overwrite)
        bpp = 8 * len(data) / (picture.width * picture.height)
        session.say(f"{name}: {picture.width}x{picture.height}, {len(data)} bytes, {bpp:.3f} bpp -> {target}")

    coder = load_codec(model or DEFAULT, threads)
    for_each(inputs, work)
