"""A table of documents on the embedded server, with its vector column."""

from collections.abc import Iterator

import psycopg
import pytest

from crdbvec_pipelines.config import ProjectConfig
from crdbvec_pipelines.library import Column, open_column
from tests.support.models import WRAPPERS


@pytest.fixture
def documents(url: str, connection: psycopg.Connection) -> Iterator[Column]:
    """An empty table of documents with texts as ids, a column of its own for filters, and a column for metadata."""
    connection.execute("CREATE TABLE document (id TEXT PRIMARY KEY, body TEXT, year INT4, metadata JSONB)")
    config = ProjectConfig.model_validate(
        {
            "models": {"directories": [str(WRAPPERS)]},
            "vectors": [{"table": "document", "input": "body", "output": "embedding", "model": "stub_hash"}],
        }
    )
    with open_column("document", "embedding", url=url, config=config) as column:
        column.embed()
        yield column
