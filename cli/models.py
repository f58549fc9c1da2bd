"""codec models"""

from __future__ import annotations

import typer

from cli.session import run_or_exit


def models() -> None:
    """List the installed models.  Example: codec models"""

    def work() -> None:
        from codec.model_file import installed_models, load_model

        for name in installed_models():
            model = load_model(name)
            typer.echo(f"{name}  id {model.model_id.hex()}")
            for key, value in model.metadata.get("card", {}).items():
                typer.echo(f"  {key}: {value}")

    run_or_exit(work)
