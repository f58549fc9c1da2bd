"""Runs a model's graphs in ONNX Runtime; each is loaded when it is first needed, or shortly before."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from codec.container.nicm import POST_FILTER
from codec.errors import EngineError, ModelError
from codec.geometry import Area, share_threads
from codec.networks.model import Model

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


Shape = tuple[int | None, ...]
"""Of an output that a graph must give; None stands for any size."""


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_abandoned: list[object] = []
"""What engines held when this process was forked: to free a session is to wait for its threads."""


def _restart_engines() -> None:
    """In a forked child: threads do not survive a fork, so sessions would wait for theirs for ever."""
    for engine in list(_engines):
        _abandoned.append((engine._sessions, engine._loader))
        engine._start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_engines)


class Engine:
    """The graphs of one model, each on ``threads`` threads (0: one for each core).

    ``optimize`` False switches the graph optimisations of ONNX Runtime off.
    """

    def __init__(self, model: Model, threads: int = 0, optimize: bool = True) -> None:
        self._model = model
        self.threads = threads or os.cpu_count() or 1
        self._optimize = optimize
        self._start()
        _engines.add(self)

    def _start(self) -> None:
        self._sessions: dict[str, Future[InferenceSession]] = {}
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, "loader")

    def prepare(self, *graphs: str) -> None:
        """Begin to load graphs that will be needed, in the background."""
        for graph in graphs:
            self._session(graph)

    def _session(self, graph: str) -> Future[InferenceSession]:
        with self._lock:
            if graph not in self._sessions:
                self._sessions[graph] = self._loader.submit(self._load, graph)
            return self._sessions[graph]

    def run(self, graph: str, *shapes: Shape, **inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs of ``graph`` for ``inputs``, which are converted to float32.

        Args:
            shapes: those of the outputs, which are checked; without any, the caller checks.

        Raises:
            ModelError: for a graph that ONNX Runtime does not accept, that does not take such inputs, or that
                gives other outputs.
            EngineError: when ONNX Runtime is missing, or fails.
        """
        session = self._session(graph).result()
        arrays = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        try:
            outputs = session.run(None, arrays)
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime has a class for each status, without a common base
            if type(error).__name__ in ("InvalidArgument", "ValueError"):
                raise ModelError(f"the model's graph {graph!r} does not take its inputs") from error
            raise EngineError(f"ONNX Runtime failed to compute the graph {graph!r}: {_reason(error)}") from error
        if shapes and not (len(outputs) == len(shapes) and all(map(_has_shape, outputs, shapes))):
            raise ModelError(f"the model's graph {graph!r} gives arrays of another shape")
        return outputs

    def _load(self, graph: str) -> InferenceSession:
        # Read when ONNX Runtime is loaded: without it, a telemetry database appears in the cache folder.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime
        except Exception as error:  # a missing library, or another version of NumPy, may be of any class
            raise EngineError(f"onnxruntime is not installed, or cannot be loaded: {_reason(error)}") from error

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        # Several strips of a picture are filtered at once, each on one thread.
        options.intra_op_num_threads = 1 if graph == POST_FILTER else self.threads
        # Each graph has threads of its own: those that wait must not take the cores from those that work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not self._optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return onnxruntime.InferenceSession(
                self._model.graph(graph), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except MemoryError:
            raise
        except Exception as error:  # as above
            raise ModelError(f"the model's graph {graph!r} is not valid: {_reason(error)}") from error


def _has_shape(array: np.ndarray, shape: Shape) -> bool:
    return len(array.shape) == len(shape) and all(b in (a, None) for a, b in zip(array.shape, shape, strict=True))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


class EnginePool:
    """A model's engines for up to ``threads`` threads, kept for later pictures."""

    def __init__(self, model: Model, threads: int, optimize: bool = True) -> None:
        self._model, self._threads, self._optimize = model, threads, optimize
        self._engines: dict[int, Engine] = {}

    def for_windows(self, windows: Sequence[Area]) -> tuple[Engine, int]:
        """The engine to compute ``windows`` of a picture with, and how many of them at once."""
        at_once, threads = share_threads(windows, self._threads)
        if threads not in self._engines:
            self._engines[threads] = Engine(self._model, threads, self._optimize)
        return self._engines[threads], at_once
