"""Runs a model's graphs in ONNX Runtime, each loaded when it is first needed, or shortly before."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from codec.errors import FormatError
from codec.model_file import POST_FILTER, Model
from codec.tiles import Area, shared_threads


class Engine:
    """The graphs of one model, on ``threads`` threads (0: one for each core)."""

    def __init__(self, model: Model, threads: int = 0, optimize: bool = True) -> None:
        self._model = model
        self.threads = threads or os.cpu_count() or 1
        self._optimize = optimize
        self._sessions: dict[str, Future] = {}
        self._asking = threading.Lock()
        self._loader = ThreadPoolExecutor(1, "loader")

    def prepare(self, *graphs: str) -> None:
        """Begin to load graphs that will be needed, beside whatever comes first."""
        for graph in graphs:
            self._session(graph)

    def _session(self, graph: str) -> Future:
        with self._asking:
            if graph not in self._sessions:
                self._sessions[graph] = self._loader.submit(self._load, graph)
            return self._sessions[graph]

    def run(self, graph: str, **inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs of ``graph`` for float32 ``inputs``. Raises FormatError for a graph that does not run."""
        try:
            return self._session(graph).result().run(None, {k: np.asarray(v, np.float32) for k, v in inputs.items()})
        except Exception as error:  # ONNX Runtime has a class for each status, without a common base
            raise FormatError(f"the model's graph {graph!r} does not run") from error

    def _load(self, graph: str):
        # Read when ONNX Runtime is loaded: without it, a telemetry database appears in the cache folder.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        # Several strips of a picture are filtered at once, each on one thread.
        options.intra_op_num_threads = 1 if graph == POST_FILTER else self.threads
        # Each graph has threads of its own: those that wait must not take the cores from those that work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not self._optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(
            self._model.graph(graph), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )


class Engines:
    """A model's graphs for up to ``threads`` threads at once, in engines that are kept for what comes next."""

    def __init__(self, model: Model, threads: int, optimize: bool = True) -> None:
        self._model, self._threads, self._optimize = model, threads, optimize
        self._engines: dict[int, Engine] = {}

    def for_blocks(self, blocks: Sequence[Area]) -> tuple[Engine, int]:
        """The engine to compute ``blocks`` of a picture with, and how many of them at once."""
        at_once, threads = shared_threads(blocks, self._threads)
        if threads not in self._engines:
            self._engines[threads] = Engine(self._model, threads, self._optimize)
        return self._engines[threads], at_once
