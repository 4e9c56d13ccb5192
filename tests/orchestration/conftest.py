"""A Dagster instance on the product's own storage, which is made once, and projects on it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg
import pytest

from crdbvec_pipelines.orchestration.storage import URL_VARIABLE
from tests.orchestration.project import Project
from tests.orchestration.stored import configuration
from tests.support.servers import Server

Stored = Callable[..., Project]

_STORAGE = {
    "storage": {
        "custom": {
            "module": "crdbvec_pipelines.orchestration.storage",
            "class": "PostgresStorage",
            "config": {},
        }
    }
}


@pytest.fixture(scope="session")
def _storage(postgres: Server) -> Iterator[dg.DagsterInstance]:
    with postgres.new_database() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL_VARIABLE, url)
        with dg.instance_for_test(overrides=_STORAGE) as instance:
            yield instance


@pytest.fixture
def instance(_storage: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """An empty instance."""
    yield _storage
    _storage.wipe()


@pytest.fixture
def stored(instance: dg.DagsterInstance, url: str) -> Stored:
    """Makes a project of one entry, for the database of the test."""

    def make(entry: Mapping[str, Any] | None = None, **top: object) -> Project:
        return Project(configuration(url, entry or {}, **top), instance, (entry or {}).get("output", "passage_vector"))

    return make
