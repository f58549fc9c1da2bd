"""codec train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codec_cli.extras import require_train_extra
from codec_cli.session import run_or_exit, session


def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder of pictures.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for checkpoint and log.")],
    recipe: Annotated[Path | None, typer.Option(help="A TOML recipe; the default model's without.")] = None,
    valid: Annotated[Path | None, typer.Option(help="A folder of pictures to validate on.")] = None,
    hours: Annotated[float, typer.Option(min=0, help="Train for this long instead of the recipe's steps.")] = 0,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    start_from: Annotated[
        Path | None,
        typer.Option(metavar="CHECKPOINT|MODEL.nicm", help="Start with the weights of an earlier training."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a model on a folder of pictures.  Example: codec train photos/ --out runs/mine"""

    def work() -> None:
        import dataclasses

        require_train_extra()
        from rich.console import Console

        from codec_models.training.recipe import RECIPES, load_recipe
        from codec_models.training.train import train as run

        chosen = load_recipe(recipe or RECIPES / "base.toml")
        if hours:
            chosen = dataclasses.replace(chosen, hours=hours)
        if seed is not None:
            chosen = dataclasses.replace(chosen, seed=seed)
        console = Console(stderr=True, quiet=session.quiet)
        path = run(data, out, chosen, valid=valid, resume=resume, start_from=start_from, device=device, console=console)
        session.say(f"checkpoint: {path}")

    run_or_exit(work)
