"""The engine: graphs are loaded once, and each kind of failure is an error of its own."""

import dataclasses
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from codec.container.nicm import GRAPHS
from codec.errors import EngineError, ModelError
from codec.geometry import Area, share_threads
from codec.networks.engine import Engine, EnginePool
from codec.networks.model import Model


@pytest.fixture
def engine(tiny):
    return Engine(tiny.model, threads=1)


def engine_with(model, **graphs):
    return Engine(Model(dataclasses.replace(model.file, graphs={**model.file.graphs, **graphs})), threads=1)


class RuntimeException(Exception):
    """As ONNX Runtime's class of this name."""


class FailingSession:
    def __init__(self, error):
        self._error = error

    def run(self, _outputs, _inputs):
        raise self._error


def test_a_graph_gives_its_outputs_for_inputs_of_any_number_type(engine, tiny):
    y_hat = np.zeros((1, tiny.model.latents, 2, 3), int)
    (x_hat,) = engine.run("synthesis", y_hat=y_hat, quality=np.array([0.5]))
    assert x_hat.shape == (1, 3, 32, 48) and x_hat.dtype == np.float32


def test_a_graph_is_loaded_once_however_often_it_is_asked_for(engine, tiny, monkeypatch):
    loaded, lock, load = [], threading.Lock(), Engine._load

    def count_load(self, graph):
        with lock:
            loaded.append(graph)
        return load(self, graph)

    monkeypatch.setattr(Engine, "_load", count_load)
    engine.prepare("synthesis", "analysis")
    y_hat = np.zeros((1, tiny.model.latents, 1, 1))
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(engine.run, "synthesis", y_hat=y_hat, quality=np.array([0.5])) for _ in range(8)]
        assert len({run.result()[0].tobytes() for run in runs}) == 1
    engine.prepare("synthesis", "analysis")
    engine._session("analysis").result()
    assert sorted(loaded) == ["analysis", "synthesis"]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"no graph"])
def test_a_graph_that_cannot_be_loaded_is_a_model_error_when_it_runs(tiny, graph, content):
    engine = engine_with(tiny.model, **{graph: content})
    engine.prepare(graph)
    with pytest.raises(ModelError, match=f"'{graph}' is not valid") as raised:
        engine.run(graph)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"y_hat": np.zeros((1, 3, 2, 2)), "quality": np.zeros(1)},
        {"y_hat": np.zeros((2, 2)), "quality": np.zeros(1)},
        {"another": np.zeros(1)},
    ],
)
def test_inputs_that_a_graph_does_not_take_are_a_model_error(engine, inputs):
    with pytest.raises(ModelError, match="synthesis") as raised:
        engine.run("synthesis", **inputs)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [RuntimeException("out of\n memory"), RuntimeException(), OSError("no device")])
def test_a_run_that_fails_is_an_engine_error_of_one_line(engine, monkeypatch, error):
    monkeypatch.setattr(Engine, "_load", lambda _engine, _graph: FailingSession(error))
    with pytest.raises(EngineError, match="ONNX Runtime") as raised:
        engine.run("synthesis")
    assert "\n" not in str(raised.value) and not isinstance(raised.value, ModelError)


IMPORT_ERRORS = {
    "not installed": "ImportError('No module named onnxruntime')",
    "of several lines": "ImportError('DLL load failed:\\nnot found\\n')",
    "missing library": "OSError('libgomp.so.1: cannot open shared object file')",
    "other version of numpy": "AttributeError('_ARRAY_API not found')",
}


@pytest.mark.parametrize("error", IMPORT_ERRORS.values(), ids=IMPORT_ERRORS)
def test_onnxruntime_that_cannot_be_imported_is_an_engine_error_of_one_line(tiny_model_path, error):
    code = f"""
import builtins, sys
import numpy as np

real_import = builtins.__import__

def broken_import(name, *arguments, **keywords):
    if name.split(".")[0] == "onnxruntime":
        raise {error}
    return real_import(name, *arguments, **keywords)

builtins.__import__ = broken_import
import codec
try:
    codec.Codec(sys.argv[1], threads=1).encode(np.arange(3072).astype(np.uint8).reshape(32, 32, 3))
except codec.EngineError as error:
    assert "onnxruntime" in str(error) and chr(10) not in str(error), str(error)
else:
    raise AssertionError("no error")
"""
    result = subprocess.run([sys.executable, "-c", code, tiny_model_path], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr.splitlines()[-1]


def test_a_pool_gives_the_same_engine_for_the_same_number_of_threads(tiny):
    pool = EnginePool(tiny.model, threads=4)
    one_window, many_windows = [Area(0, 0, 8, 8)], list(Area(0, 0, 64, 64).split(8))
    for windows in (one_window, many_windows):
        engine, at_once = pool.for_windows(windows)
        assert (at_once, engine.threads) == share_threads(windows, 4)
        assert pool.for_windows(windows)[0] is engine
    assert pool.for_windows(one_window)[0] is not pool.for_windows(many_windows)[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_decodes_and_encodes(tiny_model_path):
    code = f"""
import multiprocessing as mp, codec, numpy as np
coder = codec.Codec({str(tiny_model_path)!r}, threads=2)
picture = np.arange(64 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 80, 3)
data = coder.encode(picture, 50, fallback=False)
expected = np.asarray(coder.decode(data))  # loads the decoder's graphs, not the encoder's alone

def work(_):
    again = coder.encode(picture, 50, fallback=False)
    return again == data and np.array_equal(np.asarray(coder.decode(again)), expected)

with mp.get_context("fork").Pool(2) as pool:
    assert pool.map_async(work, range(4)).get(timeout=60) == [True] * 4
assert np.array_equal(np.asarray(coder.decode(data)), expected)  # the parent goes on as well
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=100)
