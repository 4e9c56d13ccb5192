"""A column that an application has open for a long time, before, during and after a model migration."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from crdbvec_pipelines import Column, open_column
from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import ColumnExchanged
from crdbvec_pipelines.encoding.registry import load_registry
from crdbvec_pipelines.search.model_migration import ModelMigration
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import INT_SHAPE, create_table, insert_rows

ROWS = 60
# The vector of a text is that of the row with this text, if both are of one model.
SAME_MODEL = 1e-5


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    with postgres.new_database() as new:
        yield new


@pytest.fixture(params=[{}, {"long_inputs": "chunks"}], ids=["vectors", "chunks"])
def config(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return write_config(tmp_path, {"model": "stub_hash", **request.param})


@pytest.fixture
def column(url: str, config: Path) -> Iterator[Column]:
    with psycopg.connect(url, autocommit=True) as connection:
        create_table(connection, texts=[f"text {number}" for number in range(ROWS)])
    with open_column("passage", "passage_vector", url=url, config=config) as opened:
        opened.embed()
        yield opened


@pytest.fixture
def steps(url: str, config: Path, column: Column) -> Iterator[ModelMigration]:
    """The steps of a migration of that column, which another process takes."""
    project = load_config(config)
    with Database(url) as database:
        yield ModelMigration(database, project.vectors[0], load_registry(project))


def start(steps: ModelMigration, url: str, config: Path, model: str) -> None:
    """Start a migration and embed the second column."""
    wanted = steps.wanted(model)
    steps.start(wanted)
    settings = {"input": "passage", "model": model, "long_inputs": wanted.long_inputs}
    with open_column("passage", wanted.output, url=url, config=config, **settings) as second:
        assert second.embed().rows_embedded == ROWS


class Application(threading.Thread):
    """Searches by one handle without a pause; a search that fails is repeated once."""

    def __init__(self, column: Column) -> None:
        super().__init__(daemon=True)
        self.wrong: list[str] = []
        self.errors: list[BaseException] = []
        self.searches: Counter[str] = Counter()
        self.retried: Counter[str] = Counter()
        self._column = column
        self._ended = threading.Event()
        self._went_round = threading.Event()

    def run(self) -> None:
        forms = {"text": self._by_text, "vector": self._by_vector, "frame": self._as_frame}
        number = 0
        while not self._ended.is_set():
            number += 1
            text = f"text {number % ROWS}"
            for name, search in forms.items():
                try:
                    self._check(name, text, search)
                except BaseException as error:
                    self.errors.append(error)
                    return
            self._went_round.set()

    def _by_text(self, text: str) -> tuple[str, float]:
        (hit,) = self._column.hits(text, limit=1)
        return hit.input, hit.distance

    def _by_vector(self, text: str) -> tuple[str, float]:
        (hit,) = self._column.hits(self._column.encode_query(text), limit=1)
        return hit.input, hit.distance

    def _as_frame(self, text: str) -> tuple[str, float]:
        frame = self._column.search(text, limit=1)
        return frame["input"][0], frame["distance"][0]

    def _check(self, name: str, text: str, search: Callable[[str], tuple[str, float]]) -> None:
        try:
            found, distance = search(text)
        except ColumnExchanged:
            self.retried[name] += 1
            found, distance = search(text)
        self.searches[name] += 1
        if found != text or distance > SAME_MODEL:
            self.wrong.append(f"{name}: {text} found {found} at {distance}")

    def wait_for_round(self) -> None:
        """Wait until it has searched in each form."""
        for _ in range(2):
            self._went_round.clear()
            assert self._went_round.wait(60), self.errors

    def end(self) -> None:
        self._ended.set()
        self.join(60)


@pytest.mark.parametrize("model", ["stub_other", "stub_wide"], ids=["same dimension", "other dimension"])
def test_open_column_searches_before_during_and_after_the_switch(
    column: Column, steps: ModelMigration, url: str, config: Path, model: str
) -> None:
    start(steps, url, config, model)
    application = Application(column)
    application.start()
    try:
        exchanges = 6
        for number in range(exchanges + 1):
            application.wait_for_round()
            steps.exchange(back=bool(number % 2))
        application.wait_for_round()
        steps.finish()
        application.wait_for_round()
    finally:
        application.end()
    assert (application.errors, application.wrong) == ([], [])
    # A text is searched for again without an error; a vector is not the application's to encode again.
    assert application.retried["text"] == application.retried["frame"] == 0
    assert application.retried["vector"] <= 2 * (exchanges + 1)


def test_open_column_embeds_and_counts_with_the_present_model(
    column: Column, steps: ModelMigration, url: str, config: Path
) -> None:
    start(steps, url, config, "stub_wide")
    steps.exchange()
    with psycopg.connect(url, autocommit=True) as connection:
        insert_rows(connection, INT_SHAPE, {900: "a new text"})
    assert (column.status().embedded, column.status().pending) == (ROWS, 1)
    assert column.embed().rows_embedded == 1
    assert (column.metric, len(column.encode_query("a"))) == ("cosine", 12)
    (hit,) = column.hits("a new text", limit=1)
    assert (hit.input, hit.distance < SAME_MODEL) == ("a new text", True)


def test_vector_of_the_old_model_is_rejected(column: Column, steps: ModelMigration, url: str, config: Path) -> None:
    """Also with one dimension, of which the server cannot know."""
    vector = column.encode_query("text 7")
    start(steps, url, config, "stub_other")
    steps.exchange()
    with pytest.raises(ColumnExchanged):
        column.hits(vector)
    (hit,) = column.hits(column.encode_query("text 7"), limit=1)
    assert (hit.input, hit.distance < SAME_MODEL) == ("text 7", True)
