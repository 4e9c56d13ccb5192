"""docs/pandas.md: each block of Python does what the page says, on a table that pandas has made."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.table import read_table
from crdbvec_pipelines.naming import TableName
from tests.support.processes import ROOT, run_crdbvec
from tests.support.projects import write_config
from tests.support.servers import Server

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "pandas.md").read_text(encoding="utf-8"), re.DOTALL)
# The statements that add the key, at the end of the first block.
_KEY = "with engine.begin()"


def test_table_has_a_key_and_its_vectors_are_read_as_numbers(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, query, table, as_matrix = BLOCKS
    write_config(tmp_path, {"table": "article", "input": "body", "output": "body_vector", "model": "stub_hash"})
    with postgres.new_database() as url:
        monkeypatch.setenv("CRDBVEC_URL", url)
        names: dict[str, Any] = {}
        without_key, key = write.split(_KEY)
        exec(without_key, names)
        try:
            with Database(url) as database:
                with pytest.raises(TableError, match=r'ALTER TABLE "public"\."article" ADD PRIMARY KEY \("id"\);$'):
                    read_table(database, TableName.parse("article"))
                exec(_KEY + key, names)
                assert [column.name for column in read_table(database, TableName.parse("article")).key] == ["id"]
            names["frame"].set_axis([2, 3]).to_sql("article", names["engine"], index_label="id", if_exists="append")
            assert run_crdbvec(["embed", "-n", "1", "-b", "3"], tmp_path).returncode == 0
            matrices = []
            for block in (query, table):
                exec(block, names)
                found: pd.DataFrame = names["found"]
                assert len(found) == 4
                exec(as_matrix, names)
                matrices.append(names["matrix"])
            assert matrices[0].shape == (3, 8)
            assert np.array_equal(np.sort(matrices[0], axis=0), np.sort(matrices[1], axis=0))
        finally:
            names["engine"].dispose()
