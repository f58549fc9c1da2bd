"""codec decode"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codec_cli.outputs import Targets, write_output
from codec_cli.session import for_each, load_codec, open_input, session

DEFAULT_FORMAT = "png"
PNG_LEVEL = 3
"""Decoded photographs get no smaller at higher levels, only slower to write."""


def pillow_format(extension: str) -> str:
    """Pillow's name of the format of files with ``extension``. Raises ArgumentError when Pillow writes none."""
    from PIL import Image

    from codec.errors import ArgumentError

    kind = Image.registered_extensions().get(f".{extension.lower()}")
    if kind not in Image.SAVE:
        raise ArgumentError(f"Pillow writes no pictures of the kind {extension!r}")
    return kind


def parse_region(text: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom from "X,Y,W,H". Raises BadParameter."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"{text!r} is not X,Y,W,H in pixels", param_hint="--region")
    x, y, width, height = map(int, parts)
    return x, y, x + width, y + height


def decode(
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help=".nic files, or - for standard input.")],
    output: Annotated[str | None, typer.Option("-o", help="A file, a folder, or -.")] = None,
    format: Annotated[str | None, typer.Option(help="png, webp, tiff, or any other format that Pillow writes.")] = None,
    model: Annotated[str | None, typer.Option(help="An installed model's name, or a .nicm file.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 takes one for each core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    region: Annotated[str | None, typer.Option(metavar="X,Y,W,H", help="Decode only this rectangle.")] = None,
    salvage: Annotated[bool, typer.Option("--salvage", help="Decode what a damaged file still holds.")] = False,
) -> None:
    """Decode .nic files to pictures.  Example: codec decode photo.nic -o photo.png"""
    from codec.errors import CodecError
    from codec.pictures.files import picture_bytes

    rectangle = parse_region(region) if region is not None else None
    if rectangle and salvage:
        raise typer.BadParameter("--region and --salvage do not go together")
    if len(inputs) == 2 and not inputs[1].endswith(".nic") and not Path(inputs[1]).exists():
        raise typer.BadParameter(f"the output is named with -o: codec decode {inputs[0]} -o {inputs[1]}")
    suffix = f".{format or DEFAULT_FORMAT}"
    targets = Targets(output, suffix, are_several=len(inputs) > 1, overwrite=overwrite, spare_originals=True)

    def work(name: str) -> None:
        lost_tiles: list[int] = []
        with open_input(name) as file:
            target = targets.of(name)
            kind = pillow_format(format or Path(target).suffix[1:] or DEFAULT_FORMAT)
            if salvage:
                picture, lost_tiles = coder.salvage(file)
            else:
                picture = coder.decode(file, region=rectangle)
        options = {"compress_level": PNG_LEVEL} if kind == "PNG" else {}
        data = picture_bytes(picture, kind, note=lambda line: session.say(f"{name}: {line}"), **options)
        write_output(target, data, overwrite)
        session.say(f"{name}: {picture.width}x{picture.height} -> {target}")
        if lost_tiles:
            indices = ", ".join(map(str, lost_tiles))
            raise CodecError(f"{name}: {len(lost_tiles)} damaged tiles were filled: {indices}")

    coder = load_codec(model, threads)
    for_each(inputs, work)
