"""The public interface: one vector column as an object, and names that are imported on first use."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import crdbvec_pipelines
from crdbvec_pipelines import Column, ConfigurationError, CrdbvecError, Range, TableError, open_column
from tests.support.models import stub_vector
from tests.support.processes import ROOT, run_python
from tests.support.projects import write_config
from tests.support.tables import COMPOSITE_SHAPE, INT_SHAPE, create_table

TEXTS: list[str | None] = [f"text {number}" for number in range(10)] + [None]
KEYS = [INT_SHAPE.key(number)[0] for number in range(len(TEXTS))]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, {"model": "stub_hash", "index": {"metric": "cosine", "prefix": ["year"]}})


@pytest.fixture
def column(url: str, connection: psycopg.Connection, config: Path) -> Iterator[Column]:
    create_table(connection, texts=TEXTS)
    connection.execute("ALTER TABLE passage ADD COLUMN year INT4")
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE passage SET year = %s WHERE id = %s", [(2000 + n % 2, k) for n, k in enumerate(KEYS)]
        )
    with open_column("passage", "passage_vector", url=url, config=config) as opened:
        yield opened


def test_a_column_is_embedded_counted_and_searched(column: Column, connection: psycopg.Connection) -> None:
    assert (column.status().pending, column.status().embedded) == (10, 0)
    report = column.embed(max_batches=1, batch_size=4)
    assert (report.rows_embedded, column.status().pending) == (4, 6)
    assert column.embed(workers=2).rows_embedded == 6
    status = column.status()
    assert (status.rows, status.embedded, status.pending, status.blank, status.failed) == (11, 10, 0, 1, 0)
    frame = column.search("text 7", limit=3, columns=["year"])
    assert list(frame.columns) == ["query", "distance", "id", "input", "year"]
    assert (len(frame), frame["input"][0], frame["year"][0]) == (3, "text 7", 2001)
    both = column.search(["text 1", "text 2"], limit=1, exact=True)
    assert list(both["input"]) == ["text 1", "text 2"]


def test_filters_and_distances(column: Column) -> None:
    column.embed()
    assert set(column.search("a", filters={"year": {">": 2000}})["id"]) == {KEYS[number] for number in (1, 3, 5, 7, 9)}
    assert len(column.search("a", filters={"year": Range(2000, 2000)})) == 5
    assert list(column.search("text 3", max_distance=1e-6)["id"]) == [KEYS[3]]


def test_rows_similar_to_a_row_are_within_its_prefix(column: Column) -> None:
    column.embed()
    assert set(column.search_like(KEYS[0])["id"]) == {KEYS[number] for number in (2, 4, 6, 8)}
    assert len(column.search_like((KEYS[0],), all_prefixes=True)) == 9
    assert len(column.search_like(KEYS[0], filters={"year": 2001}, limit=4)) == 4


def test_hits_of_a_text_and_of_a_vector_are_objects(column: Column) -> None:
    column.embed()
    (hit,) = column.hits("text 5", limit=1, columns=["year"])
    assert (hit.key, hit.input, hit.columns) == ({"id": KEYS[5]}, "text 5", {"year": 2001})
    assert column.hits(stub_vector("text 5"), limit=1, columns=["year"]) == [hit]
    assert column.hits(column.encode_query("text 5").tolist(), limit=1, columns=["year"]) == [hit]
    with pytest.raises(ConfigurationError, match=r"The vector has the shape \(3,\), but those of .+ have 8 numbers\."):
        column.hits([1.0, 2.0, 3.0])


def test_a_column_that_is_in_no_configuration_is_described_by_arguments(
    url: str, connection: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    create_table(connection, COMPOSITE_SHAPE, TEXTS)
    monkeypatch.setenv("CRDBVEC_URL", url)
    with open_column(
        "public.passage", "v", input="passage", model="hf_st_all_minilm_l6", staleness="nulls_only"
    ) as opened:
        assert opened.status().pending == 10
        assert opened.metric == "cosine"
        assert repr(opened) == "<vector column public.passage.v with the model hf_st_all_minilm_l6>"
        with pytest.raises(TableError, match="has no vector column v yet"):
            opened.search("a")


def test_arguments_replace_the_values_of_the_configuration(url: str, config: Path) -> None:
    with open_column("passage", "passage_vector", url=url, config=config, batch_size=7, template="{a}") as opened:
        assert (opened.spec.batch_size, opened.spec.template, opened.spec.input) == (7, "{a}", None)
        assert opened.spec.index is not None
    with pytest.raises(ConfigurationError, match=r"public\.passage\.other is not in the configuration\. Give input"):
        open_column("passage", "other", url=url, config=config)
    with pytest.raises(ConfigurationError, match="batch_sise"):
        open_column("passage", "passage_vector", url=url, config=config, batch_sise=7)


def test_public_names_exist_and_errors_have_one_base() -> None:
    for name in crdbvec_pipelines.__all__:
        value = getattr(crdbvec_pipelines, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, CrdbvecError)
    assert set(crdbvec_pipelines.__all__) <= set(dir(crdbvec_pipelines))
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        crdbvec_pipelines.absent  # noqa: B018


def test_importing_the_package_imports_nothing_else() -> None:
    source = (
        "import sys; before = set(sys.modules); import crdbvec_pipelines; "
        "print(sorted(name for name in set(sys.modules) - before if name.split('.')[0] not in sys.stdlib_module_names))"
    )
    assert run_python(source, ROOT) == "['crdbvec_pipelines']\n"


def test_importing_the_library_imports_no_library_of_models() -> None:
    source = (
        "import sys; from crdbvec_pipelines import open_column; "
        "print(sorted({'torch', 'dagster', 'pandas', 'sentence_transformers', 'openvino', 'langchain_core'} "
        "& set(sys.modules)))"
    )
    assert run_python(source, ROOT) == "[]\n"
