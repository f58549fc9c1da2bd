"""codec encode"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from codec_cli.outputs import Targets, write_output
from codec_cli.session import for_each, load_codec, read_input, session


def encode(
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help="Pictures, or - for standard input.")],
    output: Annotated[str | None, typer.Option("-o", help="A file, a folder, or -.")] = None,
    quality: Annotated[float | None, typer.Option("-q", min=0, max=100, help="Quality, 0 to 100; default 50.")] = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, help="The best quality in at most this many bytes.")] = None,
    target_bpp: Annotated[float | None, typer.Option(min=0, help="The same limit, in bits per pixel.")] = None,
    min_psnr: Annotated[float | None, typer.Option(help="The smallest file with at least this PSNR (RGB, dB).")] = None,
    effort: Annotated[int | None, typer.Option(min=1, max=5, help="1 fastest, 5 fewest bytes; default 2.")] = None,
    model: Annotated[str | None, typer.Option(help="An installed model's name, or a .nicm file.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 takes one for each core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Leave out EXIF, XMP and the colour profile.")] = False,
    first_frame: Annotated[bool, typer.Option("--first-frame", help="Take the first frame of animations.")] = False,
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="Never store tiles as WebP.")] = False,
) -> None:
    """Encode pictures to .nic files.  Example: codec encode photo.png -q 40"""
    from PIL import Image

    from codec.api import DEFAULT_QUALITY
    from codec.decoding.decoder import MAX_PIXELS
    from codec.networks.model import DEFAULT_MODEL
    from codec.pictures.files import open_picture

    if sum(limit is not None for limit in (quality, max_bytes, target_bpp, min_psnr)) > 1:
        raise typer.BadParameter("only one of -q, --max-bytes, --target-bpp and --min-psnr")

    if len(inputs) == 2 and inputs[1].endswith(".nic"):
        raise typer.BadParameter(f"the output is named with -o: codec encode {inputs[0]} -o {inputs[1]}")
    targets = Targets(output, ".nic", are_several=len(inputs) > 1, overwrite=overwrite)

    def work(name: str) -> None:
        picture = open_picture(
            read_input(name) if name == "-" else Path(name),
            first_frame=first_frame,
            note=lambda line: session.say(f"{name}: {line}"),
        )
        target = targets.of(name)
        pixels = picture.width * picture.height
        byte_limit = max_bytes if target_bpp is None else int(min(target_bpp * pixels / 8, sys.maxsize))
        options = {"strip": strip, "fallback": not no_fallback, "effort": effort}
        if byte_limit is not None or min_psnr is not None:
            data = coder.encode_to_fit(picture, max_bytes=byte_limit, min_psnr=min_psnr, **options)
        else:
            data = coder.encode(picture, DEFAULT_QUALITY if quality is None else quality, **options)
        write_output(target, data, overwrite)
        bpp = 8 * len(data) / pixels
        session.say(f"{name}: {picture.width}x{picture.height}, {len(data)} bytes, {bpp:.3f} bpp -> {target}")

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own limit is lower
    coder = load_codec(model or DEFAULT_MODEL, threads)
    for_each(inputs, work)
