"""The Dagster instance of these tests, and projects on it."""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
import pytest

from crdbvec_pipelines.orchestration.instance.storage import URL_VARIABLE, PostgresStorage
from tests.orchestration.project import BuildProject, Project, configuration
from tests.support.servers import Server

STORAGE = {
    "storage": {"custom": {"module": PostgresStorage.__module__, "class": PostgresStorage.__name__, "config": {}}}
}


@pytest.fixture(scope="session")
def _shared_instance(postgres: Server) -> Iterator[dg.DagsterInstance]:
    """One instance for all tests, because creating one takes seconds and emptying it a tenth of a second."""
    with postgres.new_database() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL_VARIABLE, url)
        with dg.instance_for_test(overrides=STORAGE) as instance:
            yield instance


@pytest.fixture
def instance(_shared_instance: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """An empty Dagster instance on PostgreSQL, with the storage class that dagster.yaml names."""
    yield _shared_instance
    _shared_instance.wipe()


@pytest.fixture
def build_project(instance: dg.DagsterInstance) -> BuildProject:
    """The builder of projects on the test's instance."""

    def build(
        url: str | Mapping[str, str],
        *others: Mapping[str, object],
        asset_prefix: Sequence[str] = (),
        **entry: object,
    ) -> Project:
        return Project(configuration(url, entry, *others, asset_prefix=asset_prefix), instance)

    return build
