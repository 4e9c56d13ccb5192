"""Sizes: the formula, the records of a simulated tree encoded byte by byte, and the shapes of large trees."""

import struct
import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from crdbvec_pipelines.cspann.partition import ROOT
from crdbvec_pipelines.cspann.settings import IndexSettings, Metric
from crdbvec_pipelines.cspann.sizes import KeyBytes, RecordBytes, encoded_bytes, expected_shape, shape_of
from crdbvec_pipelines.cspann.tree import Tree
from tests.cspann.simulated import simulate
from tests.support.embeddings import Vectors, mixture
from tests.support.vectors import METRICS

UUID_KEYS = KeyBytes(index=3, prefix=0, primary_key=19)
# What the server adds to a key and a value for its versions.
MVCC = 13


@pytest.mark.parametrize(("dim", "expected"), [(384, 154), (768, 239), (1_536, 408)])
def test_bytes_per_vector_of_a_million(dim: int, expected: int) -> None:
    shape = expected_shape(IndexSettings(), 1e6)
    assert shape.live_bytes(RecordBytes.of("cosine", dim, UUID_KEYS)) / 1e6 == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("rows", "dim", "expected"),
    [(50, 384, 1_619), (50, 1_536, 6_319), (1_000, 384, 169), (10_000, 768, 272), (100_000, 1_536, 409)],
)
def test_bytes_per_vector_of_other_tables(rows: int, dim: int, expected: int) -> None:
    shape = expected_shape(IndexSettings(), rows)
    assert shape.live_bytes(RecordBytes.of("cosine", dim, UUID_KEYS)) / rows == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("dim", [384, 768, 1_536])
def test_one_leaf_entry(dim: int) -> None:
    expected = {384: 115, 768: 163, 1_536: 259}[dim]
    assert RecordBytes.of("cosine", dim, UUID_KEYS).leaf == expected


def test_dimensions_are_padded_to_words() -> None:
    sizes = {dim: RecordBytes.of("l2", dim, UUID_KEYS).leaf for dim in (64, 65, 100, 128)}
    assert sizes[65] == sizes[100] == sizes[128] == sizes[64] + 8


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("rows", [60, 900])
def test_formula_equals_the_encoded_records_of_a_tree(metric: Metric, rows: int, topics: Vectors) -> None:
    tree = simulate(topics[: rows + 1], IndexSettings(metric, 4, 16, 4), rows).tree
    if rows == 60:
        tree = simulate(topics[: rows + 1], IndexSettings(metric), rows).tree
    keys = KeyBytes(index=3, prefix=len(PREFIX), primary_key=19)
    records = list(encoded_records(tree))
    shape = shape_of(tree)
    assert shape.live_bytes(RecordBytes.of(metric, tree.dim, keys)) == sum(map(len, records)) + MVCC * len(records)
    assert shape.records == len(records)


PREFIX = b"\x12tenant-1\x00\x01"


def encoded_records(tree: Tree) -> Iterator[bytes]:
    """Yield key and value of each record, with the lengths that CockroachDB's encoders produce."""
    index = b"\xf2\x68\x02" + PREFIX
    code_header = "<Iff" if tree.settings.metric == "l2" else "<Ifff"
    for partition in tree.partitions.values():
        start = index + (b"\x89" if partition.key == ROOT else _key(partition.key))
        for member in partition.members.tolist():
            child = _key(member) if partition.level > 1 else b"\x12" + uuid.UUID(int=member).bytes + b"\x00\x01"
            vector = tree.read(partition.level, np.array([member]))[0]
            if partition.key == ROOT:
                value = struct.pack("<fI", 0, tree.dim) + vector.tobytes()
            else:
                bits = np.packbits(np.resize(vector > 0, -(-tree.dim // 64) * 64)).tobytes()
                value = struct.pack(code_header, *([0] * (len(code_header) - 1))) + bits
            yield start + bytes([128 + partition.level]) + child + b"\x88" + b"....." + value
        yield _metadata(start, tree.dim)
    for number in range(tree.dead_partitions):
        yield _metadata(index + _key(number), tree.dim)


def _key(number: int) -> bytes:
    return b"\xfd" + struct.pack(">Q", 2**62 + number)


def _metadata(start: bytes, dim: int) -> bytes:
    value = struct.pack("<IIQQQ", 1, 1, 0, 0, 0) + b"." * 10 + struct.pack("<I", dim) + bytes(4 * dim)
    return start + b"\x80" + b"\x88" + b"....." + value


@pytest.mark.parametrize(
    ("rows", "levels"), [(128, 1), (129, 2), (10_000, 2), (12_000, 3), (900_000, 3), (1e6, 4), (7.9e7, 4), (1e10, 6)]
)
def test_levels(rows: float, levels: int) -> None:
    assert expected_shape(IndexSettings(), rows).levels == levels


def test_records_of_a_large_tree_are_three_per_partition_and_one_per_row() -> None:
    shape = expected_shape(IndexSettings(), 1e6)
    assert shape.records - 1e6 == pytest.approx(3 * sum(shape.partitions), rel=0.01)


def test_incremental_build_leaves_two_to_three_times_the_live_bytes() -> None:
    shape, sizes = expected_shape(IndexSettings(), 1e6), RecordBytes.of("cosine", 384, UUID_KEYS)
    assert shape.rewritten / 1e6 == pytest.approx(1.5, abs=0.05)
    live = shape.live_bytes(sizes)
    assert 2 <= (live + shape.garbage_bytes(sizes)) / live <= 3


def test_bytes_of_a_search() -> None:
    """1,536 dimensions, 10,000 rows, beam 32: 0.72 MB for the root, 0.91 MB for leaves, 0.3 MB for 50 rows."""
    shape, sizes = expected_shape(IndexSettings(), 10_000), RecordBytes.of("cosine", 1_536, UUID_KEYS)
    assert shape.search_bytes(sizes, 32, 50) == pytest.approx(1.93e6, rel=0.05)
    assert shape.partitions_read(32) == 33
    assert shape.leaf_entries(32) == pytest.approx(2_750, rel=0.02)


def test_expected_shape_is_that_of_a_simulated_tree() -> None:
    tree = simulate(mixture(4_001, 64), IndexSettings("cosine", 4, 16, 4), 4_000).tree
    simulated = shape_of(tree)
    expected = expected_shape(tree.settings, 4_000, fill=simulated.fill / 16)
    assert simulated.levels == expected.levels
    sizes = RecordBytes.of("cosine", 64, UUID_KEYS)
    assert simulated.live_bytes(sizes) == pytest.approx(expected.live_bytes(sizes), rel=0.03)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, 1),
        (5, 1),
        (110, 2),
        (2**20, 4),
        (2**62, 9),
        (-5, 2),
        (True, 1),
        ("abc", 6),
        (b"abc", 6),
        (uuid.UUID(int=1), 19),
    ],
)
def test_bytes_of_a_key_value(value: object, expected: int) -> None:
    assert encoded_bytes(value) == expected


def test_empty_tree_has_no_records(topics: Vectors) -> None:
    shape = expected_shape(IndexSettings(), 0)
    assert (shape.records, shape.live_bytes(RecordBytes.of("l2", 8, UUID_KEYS))) == (0, 0)
