"""codec eval"""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from codec_cli.session import run_or_exit, session

PICTURES_IN_REPORT = 4


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of pictures.")],
    qualities: Annotated[str, typer.Option(help="Qualities, separated by commas.")] = "0,20,40,60,80,100",
    against: Annotated[str, typer.Option(help="jpeg, webp, avif, jxl, jpeg2000, separated by commas.")] = "",
    reference: Annotated[list[Path] | None, typer.Option(help="A JSON file of published curves.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write each picture's figures to this file.")] = None,
    report_file: Annotated[Path | None, typer.Option("--report", help="Write an HTML report to this file.")] = None,
    effort: Annotated[int | None, typer.Option(min=1, max=5, help="As for codec encode.")] = None,
    model: Annotated[str | None, typer.Option(help="An installed model's name, or a .nicm file.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Pictures at a time; 0 takes one for each core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Measure bpp, PSNR, MS-SSIM and times.  Example: codec eval photos/ --against jpeg,webp"""

    def work() -> None:
        from rich.console import Console
        from rich.progress import Progress

        from codec.api import Codec
        from codec.evaluation.evaluate import evaluate as measure
        from codec.evaluation.evaluate import read_reference
        from codec.networks.model import DEFAULT_MODEL
        from codec_cli.outputs import check_free, write_file

        for path in filter(None, (json_file, report_file, csv_file)):
            check_free(path, overwrite)
        quality_list, anchors = parse_qualities(qualities), parse_names(against)
        anchor = anchors[0] if anchors else None
        references = {name: points for path in reference or () for name, points in read_reference(path).items()}
        codec = Codec(model or DEFAULT_MODEL, threads=1)
        with Progress(console=Console(stderr=True), disable=session.quiet) as bar:
            task = bar.add_task("pictures")
            result = measure(
                folder,
                codec,
                quality_list,
                anchors,
                effort=effort,
                references=references,
                workers=threads or os.cpu_count() or 1,
                done=lambda i, n: bar.update(task, completed=i, total=n),
            )
        print_table(result, anchor)
        if json_file:
            write_file(json_file, json.dumps(result, indent=1).encode(), overwrite)
        if report_file:
            page = make_report(result, folder, anchor, model or DEFAULT_MODEL, effort)
            write_file(report_file, page.encode(), overwrite)
        if csv_file:
            write_file(csv_file, as_csv(result["pictures"]), overwrite)

    run_or_exit(work)


def parse_qualities(text: str) -> list[float]:
    """Numbers from "0,50". Raises ArgumentError."""
    from codec.errors import ArgumentError

    try:
        return [float(quality) for quality in text.split(",")]
    except ValueError as error:
        raise ArgumentError(f"--qualities {text!r}: expected numbers separated by commas") from error


def parse_names(text: str) -> list[str]:
    """Names from "jpeg, webp"."""
    return [name.strip() for name in text.split(",") if name.strip()]


def print_table(result: dict[str, Any], anchor: str | None) -> None:
    """Print the means of every codec and quality, and the BD-rates against ``anchor``."""
    typer.echo(f"{'codec':9} {'quality':>7} {'bpp':>7} {'PSNR':>6} {'MS-SSIM':>8} {'enc s':>6} {'dec s':>6}")
    for name, points in result["codecs"].items():
        for p in points:
            similarity = "-" if p["ms_ssim"] is None else f"{p['ms_ssim']:.4f}"
            typer.echo(
                f"{name:9} {p['quality']:7g} {p['bpp']:7.3f} {p['psnr']:6.2f} {similarity:>8}"
                f" {p['encode_s']:6.2f} {p['decode_s']:6.2f}"
            )
    for name, percent in result["bd_rate"].items() if anchor else ():
        if name != anchor:
            typer.echo(f"BD-rate of {name} against {anchor}: " + ("-" if percent is None else f"{percent:+.1f} %"))


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    """Rows of equal keys as a CSV file."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def make_report(result: dict[str, Any], folder: Path, anchor: str | None, model: str, effort: int | None) -> str:
    """The report of ``result``, with the first pictures of ``folder`` by ``anchor`` and ``model`` at equal bytes."""
    from codec.api import Codec
    from codec.evaluation.evaluate import find_pictures
    from codec.evaluation.report import compare, report

    codec = Codec(model)
    paths = find_pictures(folder)[:PICTURES_IN_REPORT] if anchor else []
    comparisons = [compare(path, codec, anchor, effort) for path in paths]
    return report(result, anchor, [comparison for comparison in comparisons if comparison])
