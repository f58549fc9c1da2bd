"""codec models"""

from __future__ import annotations

import typer

from codec_cli.session import run_or_exit

COLUMNS = ("quality", "bpp", "psnr", "ms_ssim")


def print_card(card: dict) -> None:
    """Print a model card: its facts line by line, its rate-distortion figures as a table."""
    for key, value in card.items():
        if key != "rate_distortion":
            typer.echo(f"  {key.replace('_', ' ')}: {value}")
    rows = card.get("rate_distortion") or []
    if rows:
        typer.echo("  " + "".join(f"{column:>10}" for column in COLUMNS))
    for row in rows:
        typer.echo("  " + "".join(f"{row[column]:10g}" for column in COLUMNS))


def training_of(facts: dict) -> str:
    """Steps and hours of a model's training, those of the models that it started from included."""
    steps = hours = 0
    while facts:
        steps, hours = steps + facts.get("steps", 0), hours + facts.get("hours", 0)
        facts = facts.get("started_from")
    return f"{steps} steps, {hours:.2f} hours"


def models() -> None:
    """List the installed models.  Example: codec models"""

    def work() -> None:
        from codec.networks.model import installed_models, load_model

        for name in installed_models():
            model = load_model(name)
            typer.echo(f"{name}  id {model.model_id.hex()}, {training_of(model.metadata)}")
            print_card(model.metadata.get("card", {}))

    run_or_exit(work)
