"""The log of a training: means over some steps, to a progress bar and to a CSV file."""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Iterator
from pathlib import Path

from rich import progress
from rich.console import Console
from torch import Tensor

from codec_models.training.trainer import Trainer

LOG_EVERY = 50
"""Steps between two rows. A row is the mean over these steps."""
COLUMNS = ("step", "seconds", "bpp", "psnr", "loss")
"""Columns of the CSV file: optimiser steps, seconds of computing, bits per pixel, PSNR in dB, loss."""


def progress_bar(console: Console) -> progress.Progress:
    """A progress bar with a description, the fraction done and the remaining time."""
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.percentage:.1f} %"),
        progress.TimeRemainingColumn(),
        console=console,
    )


class Log:
    """Appends to the CSV file at ``path``, and updates a task of ``bar``. Close it with ``close``."""

    def __init__(self, path: Path, bar: progress.Progress, trainer: Trainer) -> None:
        self.bar, self.trainer = bar, trainer
        self.task = bar.add_task("training", total=1.0, completed=trainer.fraction_done)
        is_new = not path.exists()
        self.file = path.open("a", newline="")
        self.rows = csv.writer(self.file)
        if is_new:
            self.rows.writerow(COLUMNS)
        self._restart()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Around work between steps, whose time does not count for the steps per second."""
        paused_at = time.monotonic()
        yield
        self.began += time.monotonic() - paused_at

    def add(self, figures: Tensor) -> None:
        """Add a result of ``Trainer.step``. Waits for the device only once in ``LOG_EVERY`` steps."""
        self.bar.update(self.task, completed=self.trainer.fraction_done)
        self.totals = self.totals + figures
        self.count += 1
        if self.count == LOG_EVERY:
            self._write_row()

    def close(self, description: str) -> None:
        """Write the row of the last steps and close the file. The bar stays, with a last ``description``."""
        if self.count:
            self._write_row()
        self.file.close()
        self.bar.update(self.task, description=description)

    def _restart(self) -> None:
        """Begin a new mean."""
        self.totals, self.count, self.began = 0, 0, time.monotonic()

    def _write_row(self) -> None:
        bpp, psnr, loss = (self.totals / self.count).tolist()
        speed = self.count / (time.monotonic() - self.began)
        step, seconds = self.trainer.progress.step, self.trainer.progress.seconds
        self.bar.update(self.task, description=f"step {step}  {speed:.1f} steps/s  {bpp:.3f} bpp  {psnr:.2f} dB")
        self.rows.writerow([step, f"{seconds:.1f}", f"{bpp:.4f}", f"{psnr:.3f}", f"{loss:.4f}"])
        self.file.flush()
        self._restart()
