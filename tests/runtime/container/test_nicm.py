"""The .nicm model file: reading is the inverse of writing, and a damaged one is a ModelError."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.container.nicm import (
    FILTER_WEIGHTS,
    GRADIENT,
    GRAPHS,
    MAX_FILTERS,
    POST_FILTER,
    id_of,
    parse_tables,
    read,
    write,
)
from codec.entropy.constants import SCALE_LEVELS
from codec.errors import ModelError
from conftest import GOLDEN

METADATA = {"latents": 8, "hyper_latents": 2, "synthesis_halo": 3, "recipe": {"lambda_min": 0.1}}
TABLE = [1, 65533, 1, 1]
TABLES = {"scale": [TABLE] * SCALE_LEVELS, "hyper": [TABLE] * 2}
FILTER = [[0] * FILTER_WEIGHTS] * 3
ALL_GRAPHS = {name: name.encode() for name in GRAPHS}
DATA = write(METADATA, ALL_GRAPHS, TABLES)


def members_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {member.filename: archive.read(member) for member in archive.infolist()}


def zipped(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def tables_of(tables, graphs=ALL_GRAPHS, **metadata):
    return parse_tables(read(write({**METADATA, **metadata}, graphs, tables)))


@given(
    st.integers(1, 1024).map(lambda quarter: 4 * quarter),
    st.integers(1, 4096),
    st.integers(1, 64),
    st.sets(st.sampled_from([GRADIENT, POST_FILTER])),
    st.data(),
)
def test_reading_is_the_inverse_of_writing(latents, hyper_latents, halo, optional_graphs, data):
    metadata = {"latents": latents, "hyper_latents": hyper_latents, "synthesis_halo": halo}
    graphs = {name: data.draw(st.binary(max_size=20)) for name in (*GRAPHS, *sorted(optional_graphs))}
    written = write(metadata, graphs, TABLES)
    file = read(written)
    assert file.model_id == id_of(written) and len(file.model_id) == 8
    assert {name: file.metadata[name] for name in metadata} == metadata
    assert file.graphs == graphs
    assert json.loads(file.tables_json) == TABLES


def test_the_same_content_gives_the_same_bytes():
    assert write(METADATA, ALL_GRAPHS, TABLES) == DATA
    assert write(dict(reversed(METADATA.items())), dict(reversed(ALL_GRAPHS.items())), TABLES) == DATA


def test_tables_come_back_as_they_were_written():
    tables = tables_of(TABLES)
    assert [table.frequencies.tolist() for table in tables.scale] == TABLES["scale"]
    assert [table.frequencies.tolist() for table in tables.hyper] == TABLES["hyper"]
    assert tables.codebook is None and tables.post_filters is None


def test_post_filters_are_in_units_of_a_1024th():
    filters = np.arange(2 * 3 * FILTER_WEIGHTS).reshape(2, 3, FILTER_WEIGHTS)
    tables = tables_of({**TABLES, "post_filters": filters.tolist()}, {**ALL_GRAPHS, POST_FILTER: b""})
    assert np.array_equal(tables.post_filters, filters / 1024)


@pytest.mark.parametrize("length", [*range(0, 200), *range(200, len(DATA), 97), len(DATA) - 1])
def test_a_truncated_model_file_is_a_model_error(length):
    with pytest.raises(ModelError):
        read(DATA[:length])


@pytest.mark.parametrize("length", [0, 10, 1000, 50000])
def test_the_beginning_of_a_trained_model_file_is_a_model_error(tiny_model_path, length):
    with pytest.raises(ModelError):
        read(tiny_model_path.read_bytes()[:length])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_model_error_of_one_line(data):
    with pytest.raises(ModelError) as raised:
        read(data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", list(members_of(DATA)))
def test_a_model_file_without_one_of_its_members_is_a_model_error(name):
    members = members_of(DATA)
    del members[name]
    with pytest.raises(ModelError, match="members"):
        read(zipped(members))


def test_a_model_file_with_a_member_too_many_or_compressed_ones_is_a_model_error():
    with pytest.raises(ModelError, match="members"):
        read(zipped({**members_of(DATA), "code.py": b""}))
    with pytest.raises(ModelError, match="stored"):
        read(zipped(members_of(DATA), zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"1", b"\xff\xfe", b'{"version": 2}'])
def test_metadata_that_is_not_of_this_version_is_a_model_error(content):
    with pytest.raises(ModelError):
        read(zipped({**members_of(DATA), "metadata.json": content}))


@pytest.mark.parametrize("name", ["latents", "hyper_latents", "synthesis_halo"])
@pytest.mark.parametrize("value", [0, -1, 4097, 1.0, True, "8", None])
def test_sizes_out_of_range_are_a_model_error(name, value):
    with pytest.raises(ModelError, match=name):
        read(write({**METADATA, name: value}, ALL_GRAPHS, TABLES))


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": [TABLE] * (SCALE_LEVELS - 1)},
        {"hyper": [TABLE] * 3},
        {"scale": [[1, 1, 1, 1]] * SCALE_LEVELS},
        {"hyper": "tables"},
        {"hyper": [[1, 1 << 70]]},
        {"scale": None},
        {"codebook": {}},
        {"codebook": {"codewords": [[]] * 6, "tables": [TABLE] * 16, "rate_weight": 0}},
    ],
)
def test_tables_that_are_not_valid_are_a_model_error(changes):
    with pytest.raises(ModelError):
        tables_of({**TABLES, **changes})


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000])
def test_tables_that_are_not_json_objects_are_a_model_error(content):
    with pytest.raises(ModelError, match="tables"):
        parse_tables(read(zipped({**members_of(DATA), "tables.json": content})))


@pytest.mark.parametrize(
    "filters",
    [
        [],
        [[[0] * FILTER_WEIGHTS] * 2],
        [[[0] * 39] * 3],
        [[[1 << 21] * FILTER_WEIGHTS] * 3],
        [FILTER] * (MAX_FILTERS + 1),
        "filters",
    ],
)
def test_post_filters_out_of_bounds_are_a_model_error(filters):
    with pytest.raises(ModelError, match="tables are not valid"):
        tables_of({**TABLES, "post_filters": filters}, {**ALL_GRAPHS, POST_FILTER: b""})


def test_post_filters_without_their_graph_or_the_graph_alone_are_a_model_error():
    with pytest.raises(ModelError, match="post-filters"):
        tables_of({**TABLES, "post_filters": [FILTER]})
    with pytest.raises(ModelError, match="post-filters"):
        tables_of(TABLES, {**ALL_GRAPHS, POST_FILTER: b""})


def test_latents_that_do_not_divide_into_vectors_are_a_model_error():
    row = [1] * 6 + [65536 - 7, 1]
    codebook = {"codewords": [[0] * 4] * 6, "tables": [row] * 16, "rate_weight": 0.1}
    assert tables_of({**TABLES, "codebook": codebook}, latents=16).codebook.length == 4
    with pytest.raises(ModelError, match="divide"):
        tables_of({**TABLES, "codebook": codebook}, latents=8)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.nicm")), ids=lambda path: path.stem)
def test_model_files_that_were_published_stay_readable(path):
    data = path.read_bytes()
    file = read(data)
    assert file.model_id == id_of(data) and set(GRAPHS) <= set(file.graphs)
    assert len(parse_tables(file).scale) == SCALE_LEVELS


def test_latents_that_do_not_divide_into_four_groups_are_refused():
    with pytest.raises(ModelError, match="multiple of 4"):
        read(write({**METADATA, "latents": 17}, ALL_GRAPHS, TABLES))
