"""Models: where they are found, and what is said where they are not."""

import dataclasses

import numpy as np
import pytest

from codec import Codec
from codec.container import nic, nicm
from codec.errors import ModelError, ModelNotFound
from codec.networks import model as models
from codec.networks.model import DEFAULT_MODEL, Model, find_model, installed_models, load_model, read_model
from conftest import made_picture


def test_the_default_model_is_installed():
    assert DEFAULT_MODEL in installed_models()


def test_a_model_is_found_by_name_by_path_and_by_id(tiny_model_path, tmp_path, monkeypatch):
    model_id = nicm.id_of(tiny_model_path.read_bytes())
    assert load_model(tiny_model_path).model_id == load_model(str(tiny_model_path)).model_id == model_id
    monkeypatch.setattr(models, "PRETRAINED", tmp_path)
    (tmp_path / "small.nicm").write_bytes(tiny_model_path.read_bytes())
    assert installed_models() == ["small"]
    assert load_model("small").model_id == find_model(model_id).model_id == model_id


def test_a_model_that_is_not_there_is_named_beside_those_that_are(tiny_model_path, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "PRETRAINED", tmp_path)
    for name in ("absent", str(tmp_path / "absent.nicm")):
        with pytest.raises(ModelNotFound, match=r"absent.*installed: none"):
            load_model(name)
    (tmp_path / "small.nicm").write_bytes(tiny_model_path.read_bytes())
    with pytest.raises(ModelNotFound, match="installed: small"):
        Codec("absent")
    with pytest.raises(ModelNotFound, match="3132333435363738"):
        find_model(b"12345678")


def test_a_file_larger_than_any_model_is_a_model_error(tmp_path, monkeypatch):
    monkeypatch.setattr(nicm, "MAX_BYTES", 10)
    (tmp_path / "large.nicm").write_bytes(bytes(11))
    with pytest.raises(ModelError, match="larger"):
        load_model(tmp_path / "large.nicm")


def test_a_file_of_another_model_names_the_id(tiny):
    reader = nic.reader(tiny.encode(made_picture(40, 40)))
    other = nic.write(dataclasses.replace(reader.header, model_id=b"\x00" * 8), [reader.tile(0)])
    for codec in (tiny, Codec()):
        with pytest.raises(ModelNotFound, match="0000000000000000"):
            codec.decode(other)


def test_a_file_finds_its_model_among_damaged_and_other_ones(tiny, tiny_model_path, tmp_path, monkeypatch):
    data = tiny.encode(made_picture(70, 90), 50)
    model = tiny_model_path.read_bytes()
    (tmp_path / "damaged.nicm").write_bytes(model[:1000])
    (tmp_path / "other.nicm").write_bytes(model + b"\0")
    monkeypatch.setattr(models, "PRETRAINED", tmp_path)
    with pytest.raises(ModelNotFound, match=tiny.model.model_id.hex()):
        Codec().decode(data)
    (tmp_path / "tiny.nicm").write_bytes(model)
    assert np.array_equal(Codec().decode(data), tiny.decode(data))


@pytest.mark.parametrize("length", [0, 10, 1000, 50000])
def test_a_damaged_model_file_is_a_model_error(tiny_model_path, length):
    with pytest.raises(ModelError):
        read_model(tiny_model_path.read_bytes()[:length])


def test_lambda_rises_in_geometric_progression(tiny):
    recipe = {"lambda_min": 0.01, "lambda_max": 1.0}
    model = Model(dataclasses.replace(tiny.model.file, metadata={**tiny.model.metadata, "recipe": recipe}))
    lambdas = [model.lambda_at(unit_quality) for unit_quality in (0, 0.5, 1)]
    assert lambdas == pytest.approx([0.01 * 255**2, 0.1 * 255**2, 255**2])
