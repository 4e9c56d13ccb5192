"""A connection for the tests of searches."""

from collections.abc import Iterator

import pytest

from crdbvec_pipelines.database.connection import Database
from tests.support.vectors import preferring_indexes


@pytest.fixture
def preferring(url: str) -> Iterator[Database]:
    """A database on which the server uses an index if possible."""
    with Database(preferring_indexes(url)) as opened:
        yield opened
