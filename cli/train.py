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
    recipe: Annotated[Path | None, typer.Option(help="A TOML recipe; by default base.toml.")] = None,
    valid: Annotated[Path | None, typer.Option(help="A folder of pictures to validate on.")] = None,
    hours: Annotated[float, typer.Option(min=0, help="Length of the training, instead of the recipe's steps.")] = 0,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of random numbers, instead of the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in --out.")] = False,
    start_from: Annotated[
        Path | None,
        typer.Option(metavar="CHECKPOINT|MODEL.nicm", help="Start from the weights of another training."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a model on a folder of pictures.  Example: codec train photos/ --out runs/mine"""

    def work() -> None:
        require_train_extra()
        import dataclasses

        from rich.console import Console

        from codec_models.training.recipe import RECIPES, load_recipe, recipe_from_dict
        from codec_models.training.train import train as run

        settings = dataclasses.asdict(load_recipe(recipe or RECIPES / "base.toml"))
        if hours:
            settings["hours"] = hours
        if seed is not None:
            settings["seed"] = seed
        console = Console(stderr=True, quiet=session.quiet)
        checkpoint = run(
            data,
            out,
            recipe_from_dict(settings),
            valid=valid,
            resume=resume,
            start_from=start_from,
            device=device,
            console=console,
        )
        session.say(f"checkpoint: {checkpoint}")

    run_or_exit(work)
