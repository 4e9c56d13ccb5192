"""An index that takes the place of another one: no search without an index, and continuing after each step."""

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.index.replacement import IndexReplacement
from crdbvec_pipelines.database.search.query import SearchQuery
from tests.database.index.conftest import NAME, oid
from tests.support.vectors import nearest, preferring_indexes, random_vectors, vector_index
from tests.support.waiting import wait_until

QUERY = random_vectors(1, seed=5)[0]


@pytest.fixture
def searched(own: psycopg.Connection) -> Iterator[Database]:
    """A database whose column has an index with m = 16, and whose server uses indexes for small tables."""
    with Database(preferring_indexes(own.info.dsn)) as database:
        vector_index(database, m=16).build()
        yield database


def new_name(database: Database) -> str:
    return vector_index(database, m=8).replacement.index


def interrupt(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Let a step of the replacement end in the way a killed process ends."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(IndexReplacement, method, killed)


def test_old_index_is_in_use_until_the_new_one_is_and_the_name_stays(
    own: psycopg.Connection, searched: Database
) -> None:
    before = oid(own)
    present: list[tuple[list[str], str | None]] = []

    def on_replacement(name: str) -> None:
        present.append((sorted(vector_index(searched, m=8).existing()), vector_index(searched, m=8).replacement.state))

    assert vector_index(searched, m=8).build(replace=True, on_replacement=on_replacement)
    assert present == [(sorted([NAME, new_name(searched)]), "built")]
    after = vector_index(searched, m=8)
    assert list(after.existing()) == [NAME]
    assert (after.differences(), after.replacement.state) == ([], None)
    assert oid(own) != before
    assert not vector_index(searched, m=8).build(replace=True)


@pytest.mark.parametrize(
    ("method", "state"), [("build", None), ("put_in_use", "built"), ("finish", "built")], ids=lambda value: str(value)
)
def test_interrupted_replacement_is_continued(
    own: psycopg.Connection, searched: Database, monkeypatch: pytest.MonkeyPatch, method: str, state: str | None
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, method)
        with pytest.raises(KeyboardInterrupt):
            vector_index(searched, m=8).build(replace=True)
    assert vector_index(searched, m=8).replacement.state == state
    assert NAME in vector_index(searched, m=8).existing()
    built = oid(own, new_name(searched))
    assert vector_index(searched, m=8).build(replace=True)
    assert list(vector_index(searched, m=8).existing()) == [NAME]
    # What was built before is not built again.
    assert built is None or oid(own) == built


def _drop_old(own: psycopg.Connection, new: str) -> None:
    own.execute(f"DROP INDEX {NAME}")


def _invalidate_old(own: psycopg.Connection, new: str) -> None:
    """As an interrupted DROP INDEX CONCURRENTLY leaves it."""
    own.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{NAME}'::regclass")


def _invalidate_new(own: psycopg.Connection, new: str) -> None:
    """As an interrupted build leaves it."""
    own.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{new}'::regclass")


@pytest.mark.parametrize(
    ("fault", "state"), [(_drop_old, "in use"), (_invalidate_old, "in use"), (_invalidate_new, "unfinished")]
)
def test_every_state_of_the_catalog_has_a_name_and_is_continued(
    own: psycopg.Connection,
    searched: Database,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[psycopg.Connection, str], None],
    state: str,
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, "put_in_use")
        with pytest.raises(KeyboardInterrupt):
            vector_index(searched, m=8).build(replace=True)
    fault(own, new_name(searched))
    index = vector_index(searched, m=8)
    assert index.replacement.state == state
    assert index.replacement.replaced == NAME
    # Searches use an index in each of these states.
    assert nearest(searched).find(QUERY, SearchQuery(limit=5)).strategy == "index_scan"
    assert index.build(replace=True)
    assert list(vector_index(searched, m=8).existing()) == [NAME]
    assert own.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone() == (0,)


def test_new_index_of_an_earlier_configuration_is_not_used(
    own: psycopg.Connection, searched: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built_with(m: int) -> None:
        with monkeypatch.context() as patch:
            interrupt(patch, "put_in_use")
            with pytest.raises(KeyboardInterrupt):
                vector_index(searched, m=m).build(replace=True)

    built_with(8)
    assert vector_index(searched, m=12).build(replace=True)
    assert vector_index(searched, m=12).existing()[NAME].parameters["m"] == 12
    built_with(8)
    # The configuration is again that of the index in use.
    assert not vector_index(searched, m=12).build(replace=True)
    assert list(vector_index(searched, m=12).existing()) == [NAME]
    built_with(8)
    own.execute(f"DROP INDEX {NAME}")
    assert vector_index(searched, m=20).build(replace=True)
    assert vector_index(searched, m=20).existing()[NAME].parameters["m"] == 20
    assert len(vector_index(searched, m=20).existing()) == 1


def test_rejected_new_index_leaves_the_old_one_in_use(own: psycopg.Connection, searched: Database) -> None:
    before = oid(own)

    def reject(name: str) -> None:
        raise RuntimeError(name)

    with pytest.raises(RuntimeError):
        vector_index(searched, m=8).build(replace=True, on_replacement=reject)
    assert oid(own) == before
    assert vector_index(searched, m=8).replacement.state == "built"


def test_searches_use_an_index_during_the_replacement(own: psycopg.Connection, searched: Database) -> None:
    ended = threading.Event()
    strategies: list[str] = []

    def search() -> None:
        searcher = nearest(searched)
        while not ended.is_set():
            # One that exists since before the replacement, and one of each moment.
            strategies.extend(each.find(QUERY, SearchQuery(limit=5)).reason for each in (searcher, nearest(searched)))

    thread = threading.Thread(target=search, daemon=True)
    thread.start()
    try:
        for m in (8, 12):
            count = len(strategies)
            assert vector_index(searched, m=m).build(replace=True)
            wait_until(lambda count=count: len(strategies) > count + 4)  # type: ignore[misc]
    finally:
        ended.set()
        thread.join(60)
    assert [reason for reason in strategies if not reason.startswith("Index scan on ")] == []
