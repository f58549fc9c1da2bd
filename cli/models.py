"""codec models"""

from __future__ import annotations

import typer

from cli.session import run_or_exit


def print_card(card: dict) -> None:
    """The facts of a model card line by line, its rate-distortion figures as a table."""
    for key, value in card.items():
        if key != "rate_distortion":
            typer.echo(f"  {key.replace('_', ' ')}: {value}")
    rows = card.get("rate_distortion") or []
    for row in rows[:1]:
        typer.echo("  " + "".join(f"{column:>10}" for column in row))
    for row in rows:
        typer.echo("  " + "".join(f"{value:10g}" for value in row.values()))


def models() -> None:
    """List the installed models.  Example: codec models"""

    def work() -> None:
        from codec.model_file import installed_models, load_model

        for name in installed_models():
            model = load_model(name)
            facts = model.metadata
            typer.echo(f"{name}  id {model.model_id.hex()}, {facts.get('steps')} steps, {facts.get('hours')} hours")
            print_card(facts.get("card", {}))

    run_or_exit(work)
