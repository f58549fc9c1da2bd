"""Training: a folder of pictures to a checkpoint, resumable at any moment."""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from codec_models.training.checkpoint import load_checkpoint
from codec_models.training.data import load_folder
from codec_models.training.optimizer import flushed_denormals
from codec_models.training.recipe import Recipe
from codec_models.training.trainer import Trainer, check_device
from codec_models.training.validate import validate

LOG_EVERY = 50
SAVE_EVERY_SECONDS = 120
VALIDATE_EVERY = 2000
PICTURES_ON_THE_WAY = 8
"""How many pictures a validation before the end looks at."""


class Log:
    """Means over ``LOG_EVERY`` steps, to the progress bar and to a CSV file."""

    def __init__(self, path: Path, bar: Progress, trainer: Trainer) -> None:
        self.bar, self.trainer = bar, trainer
        self.task = bar.add_task("training", total=1.0, completed=trainer.progress)
        is_new = not path.exists()
        self.file = path.open("a", newline="")
        self.rows = csv.writer(self.file)
        if is_new:
            self.rows.writerow(["step", "seconds", "bpp", "psnr", "loss"])
        self.restart()

    def restart(self) -> None:
        """Begin the next mean."""
        self.totals, self.count, self.began = 0, 0, time.monotonic()

    def add(self, figures: Tensor) -> None:
        """Count one step's bpp, PSNR and loss, without waiting for them."""
        self.bar.update(self.task, completed=self.trainer.progress)
        self.totals = self.totals + figures
        self.count += 1
        if self.count < LOG_EVERY:
            return
        bpp, decibels, loss = (self.totals / self.count).tolist()
        speed = self.count / (time.monotonic() - self.began)
        step, seconds = self.trainer.position.step, self.trainer.position.seconds
        text = f"step {step}  {speed:.1f} steps/s  {bpp:.3f} bpp  {decibels:.2f} dB"
        self.bar.update(self.task, description=text)
        self.rows.writerow([step, f"{seconds:.1f}", f"{bpp:.4f}", f"{decibels:.3f}", f"{loss:.4f}"])
        self.file.flush()
        self.restart()


@contextlib.contextmanager
def told_of_memory() -> Iterator[None]:
    """Raises MemoryError, as Python's own memory does, where torch finds none left."""
    try:
        yield
    except RuntimeError as error:  # on a CPU of no class of its own
        if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            raise MemoryError("training: not enough memory; smaller batches and crops need less") from error
        raise


def read_pictures(data: Path, valid: Path | None, console: Console) -> tuple[list[Tensor], list[Tensor]]:
    """Pictures to train on and to validate on; without ``valid`` every fiftieth is held out."""
    pictures, skipped = load_folder(data)
    console.print(f"{len(pictures)} pictures, {skipped} files skipped")
    if valid:
        return pictures, load_folder(valid)[0]
    return [p for i, p in enumerate(pictures) if i % 50] or pictures, pictures[::50]


def train(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    valid: Path | None = None,
    resume: bool = False,
    start_from: Path | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> Path:
    """Train a model on the pictures below ``data``; returns the path of the checkpoint in ``out``.

    With ``resume`` the checkpoint's own recipe goes on from its last saved step. With ``start_from``, the
    checkpoint of an earlier training or its model file, its weights take the place of the principal components.
    Without ``valid`` every fiftieth picture is held out for validation.

    Raises:
        ValueError: for a folder without pictures, a checkpoint that is there already, missing or damaged, or a
            device that is not there.
    """
    check_device(device)
    console = console or Console(stderr=True)
    checkpoint = out / "checkpoint.pt"
    saved: dict | None = None
    if resume:
        recipe, saved = load_checkpoint(checkpoint)
    elif checkpoint.exists():
        raise ValueError(f"{checkpoint}: already there; continue it with --resume or choose another folder")
    pictures, held_out = read_pictures(data, valid, console)

    def report(validation: list[Tensor]) -> None:
        for level, rate, decibels in validate(trainer.average.module, validation):
            console.print(f"valid  q {100 * level:.0f}  {rate:.3f} bpp  {decibels:.2f} dB")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.1f} %"),
        TimeRemainingColumn(),
    )
    with told_of_memory(), flushed_denormals(), Progress(*columns, console=console) as bar:
        trainer = Trainer(recipe, pictures, device, saved, None if resume else start_from)
        out.mkdir(parents=True, exist_ok=True)
        log = Log(out / "log.csv", bar, trainer)
        saved_at = time.monotonic()
        while trainer.progress < 1.0:
            log.add(trainer.step())
            if trainer.position.step % VALIDATE_EVERY == 0:
                report(held_out[:PICTURES_ON_THE_WAY])
            if time.monotonic() - saved_at > SAVE_EVERY_SECONDS:
                trainer.save(checkpoint)
                saved_at = time.monotonic()
        log.file.close()
        bar.update(log.task, description="fitting tables and post-filters")
        trainer.fit()
        trainer.save(checkpoint)
        report(held_out)
    return checkpoint
