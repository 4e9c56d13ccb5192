"""The vectors in the table equal those of sentence-transformers, for every shape of key."""

import csv
import gzip

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.search.query import SearchQuery
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.search.searcher import Searcher
from tests.support.minilm import locate_minilm
from tests.support.tables import SHAPES, UUID_SHAPE, KeyShape, column, create_table, vectors
from tests.support.work import embed

MODEL = "hf_st_all_minilm_l6"
_GLOSSES = 200
_LONG = "the quick brown fox jumps over the lazy dog " * 67


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Real glosses, and texts that are longer than the model's window or not in English."""
    with gzip.open(bundled("examples/wordnet/glosses.tsv.gz"), "rt", encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        glosses = [row["gloss"] for _, row in zip(range(_GLOSSES), rows, strict=False)]
    return [*glosses, _LONG, "word", "  blanks around  ", "Ünïcödé 東京 🐘"]


@pytest.fixture(scope="module")
def reference(texts: list[str]) -> NDArray[np.float32]:
    from sentence_transformers import SentenceTransformer

    weights = locate_minilm()
    model = SentenceTransformer(str(weights.directory), device="cpu")
    return np.asarray(model.encode(texts, normalize_embeddings=True, show_progress_bar=False), np.float32)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return ModelRegistry().load(MODEL)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_row_has_the_reference_vector_of_its_text(
    database: Database,
    connection: psycopg.Connection,
    shape: KeyShape,
    texts: list[str],
    reference: NDArray[np.float32],
    encoder: Encoder,
) -> None:
    create_table(connection, shape, texts)
    report = embed(database, column(model=MODEL), encoder, batch_size=64)
    assert report.rows_embedded == len(texts)
    written = vectors(connection, shape)
    rows = [written[shape.key(number)] for number in range(len(texts))]
    actual = np.stack([vector for vector in rows if vector is not None])
    cosines = (actual * reference).sum(axis=1) / np.linalg.norm(actual, axis=1)
    assert cosines.min() >= 0.9999


def test_text_longer_than_the_window_is_embedded_and_counted(
    database: Database, connection: psycopg.Connection, encoder: Encoder
) -> None:
    assert len(_LONG.split()) > 600
    create_table(connection, texts=["short", _LONG, "also short"])
    report = embed(database, column(model=MODEL), encoder)
    assert (report.rows_embedded, report.rows_truncated) == (3, 1)


def test_search_finds_rows_by_meaning(database: Database, connection: psycopg.Connection, encoder: Encoder) -> None:
    create_table(
        connection, UUID_SHAPE, ["a large flightless bird of Africa", "a kind of pasta", "a treaty between states"]
    )
    spec = column(model=MODEL)
    embed(database, spec, encoder)
    queries = ["an ostrich", "spaghetti", "an agreement of two countries"]
    found = [each.hits for each in Searcher(database, spec, encoder).search_texts(queries, SearchQuery(limit=3))]
    assert [hits[0].input.split()[-1] for hits in found] == ["Africa", "pasta", "states"]
    for hits in found:
        assert len(hits) == 3
        assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)
