"""codec eval"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.session import run_or_exit, session


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of pictures.")],
    qualities: Annotated[str, typer.Option(help="Qualities, with commas.")] = "0,20,40,60,80,100",
    against: Annotated[str, typer.Option(help="jpeg, webp, avif, jpeg2000, with commas.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = None,
    model: Annotated[str | None, typer.Option(help="An installed model's name, or a .nicm file.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="0: one for each core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the JSON file.")] = False,
) -> None:
    """Measure bpp, PSNR, MS-SSIM and times.  Example: codec eval photos/ --against jpeg,webp"""

    def work() -> None:
        from rich.console import Console
        from rich.progress import Progress

        from codec.codec import Codec
        from codec.errors import CodecError
        from codec.evaluate import evaluate as measure
        from codec.files import write_file
        from codec.model_file import DEFAULT

        try:
            levels = [float(q) for q in qualities.split(",")]
        except ValueError as error:
            raise CodecError(f"--qualities {qualities!r}: expected numbers with commas") from error
        rivals = [name.strip() for name in against.split(",") if name.strip()]
        with Progress(console=Console(stderr=True), disable=session.quiet) as bar:
            task = bar.add_task("pictures")
            result = measure(
                folder,
                Codec(model or DEFAULT, threads),
                levels,
                rivals,
                lambda i, n: bar.update(task, completed=i, total=n),
            )
        typer.echo(f"{'codec':9} {'quality':>7} {'bpp':>7} {'PSNR':>6} {'MS-SSIM':>8} {'enc s':>6} {'dec s':>6}")
        for name, points in result["codecs"].items():
            for p in points:
                typer.echo(
                    f"{name:9} {p['quality']:7g} {p['bpp']:7.3f} {p['psnr']:6.2f} {p['ms_ssim']:8.4f}"
                    f" {p['encode_s']:6.2f} {p['decode_s']:6.2f}"
                )
        for name, percent in result["bd_rate"].items() if rivals else ():
            typer.echo(f"BD-rate of {name} against {rivals[0]}: {percent:+.1f} %")
        if json_file:
            write_file(json_file, json.dumps(result, indent=1).encode(), overwrite)

    run_or_exit(work)
