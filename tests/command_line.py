"""Runs the commands as a user does: in processes of their own."""

from __future__ import annotations

import subprocess
import sys


def run(*arguments, stdin=None):
    """``codec`` with ``arguments``: the finished process, its output as bytes."""
    command = [sys.executable, "-m", "codec_cli", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120)


def failed(result):
    """The one line that a failed command printed."""
    lines = result.stderr.decode().strip().splitlines()
    assert result.returncode == 1 and len(lines) == 1 and "Traceback" not in lines[0], result.stderr
    return lines[0]
