"""The library: one vector column as an object, to embed, search and count its rows from Python.

The names that `crdbvec_pipelines` itself exports are stable; docs/library.md says what that means.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.config import (
    CONFIG_VARIABLE,
    DatabaseSpec,
    ProjectConfig,
    VectorColumn,
    find_config,
    load_config,
    vector_column,
)
from crdbvec_pipelines.database.column import bind_column
from crdbvec_pipelines.database.column import open_column as bind_and_check
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import ColumnExchanged
from crdbvec_pipelines.database.rows.counts import column_counts
from crdbvec_pipelines.database.rows.documents import Documents
from crdbvec_pipelines.database.rows.row_counts import RowCounts
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.migrations import present_column
from crdbvec_pipelines.database.schema.prepare import prepare_column
from crdbvec_pipelines.database.search.query import Filters, SearchMode, SearchQuery
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry, load_registry
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.naming import TableName
from crdbvec_pipelines.refresh.completion import refresh_and_settle
from crdbvec_pipelines.refresh.options import options_for
from crdbvec_pipelines.refresh.report import RefreshReport
from crdbvec_pipelines.search.frames import results_frame, warn_of_mixed_models
from crdbvec_pipelines.search.result import Hit
from crdbvec_pipelines.search.searcher import Searcher

if TYPE_CHECKING:
    import pandas as pd


class Column:
    """A vector column on an open database. `open_column` makes it; as a context manager it closes the connections.

    It can be used by several threads. The table is read again by each call, so a changed schema is noticed. During and
    after a model migration (`crdbvec migrate`), the model is that whose vectors the column has at that moment.

    Attributes:
        spec: The configuration entry, with its defaults.
    """

    def __init__(
        self,
        database: Database,
        spec: VectorColumn,
        encoder: Encoder,
        registry: ModelRegistry | None = None,
    ) -> None:
        self.spec = spec
        self._registry = registry
        self._database = database
        # The column as it was last seen, and its model; replaced together, because several threads use them.
        self._seen = spec, encoder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<vector column {self.spec} with the model {self.spec.model}>"

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def embed(
        self, *, batch_size: int | None = None, workers: int | None = None, max_batches: int | None = None
    ) -> RefreshReport:
        """Embed the pending rows, as `crdbvec embed` does; the vector column and its objects are created if missing.

        Args:
            batch_size: Rows that are read, encoded and written together; by default that of the configuration.
            workers: How many batches are encoded at the same time; by default that of the configuration.
            max_batches: Stop after this many batches; None embeds all pending rows.

        Returns:
            The counts of what was done. Rows that the model or the database rejects are counted, not raised.

        Raises:
            CrdbvecError: The work cannot be done or continued; what was written before is kept.
        """
        database = self._database.with_quality_of_service(self.spec.quality_of_service)
        spec, encoder = self._present()
        rows = VectorRows(prepare_column(database, spec, encoder))
        options = replace(options_for(self.spec, batch_size=batch_size, workers=workers), max_batches=max_batches)
        report, _ = refresh_and_settle(rows, encoder, KeyRange(), options, lambda: None)
        return report

    def search(
        self,
        texts: str | Sequence[str],
        *,
        limit: int = 10,
        columns: Sequence[str] = (),
        filters: Filters | None = None,
        max_distance: float | None = None,
        exact: bool = False,
        effort: int | None = None,
        mode: SearchMode = "vector",
        all_chunks: bool = False,
        rerank: bool = False,
    ) -> "pd.DataFrame":
        """Return the rows nearest to one or several texts as a pandas DataFrame.

        Args:
            texts: The text, or several, each with its own hits.
            limit: The maximum number of rows for each text.
            columns: Further columns of the table.
            filters: Columns or paths into JSON and what they must be, such as `{"year": {">=": 1990}}`.
            max_distance: Exclude rows at a greater distance.
            exact: Compare every row; do not use the vector index.
            effort: The search effort of the index; by default that of the configuration or the server.
            mode: What finds the rows: `vector`, `keyword` (the words of the text index), or `hybrid` (both).
            all_chunks: Return every near chunk of a row, not only the nearest one, of an entry with chunks.
            rerank: Order the first 50 hits by the reranker of the entry (`rerank`).

        Returns:
            One row per hit, nearest first: `query`, `distance`, the columns of the key, `input`, the further columns.
            Of an entry with chunks also `chunk_number`, `chunk_start`, `chunk_end` and `chunk_text`.
            Except by vectors, the best first, and after `distance` also `vector_rank` and `keyword_rank`.
            Of a reranked search also `relevance` after these.

        Raises:
            CrdbvecError: A column, filter or text is not valid, or the model or the database is not available.
        """
        query = SearchQuery(
            limit, filters, exact, effort, max_distance, tuple(columns), mode=mode, all_chunks=all_chunks, rerank=rerank
        )
        searcher = self._searcher()
        results = searcher.search_texts([texts] if isinstance(texts, str) else texts, query)
        return results_frame(searcher, results, query)

    def search_like(
        self,
        key: object,
        *,
        limit: int = 10,
        columns: Sequence[str] = (),
        filters: Filters | None = None,
        all_prefixes: bool = False,
    ) -> "pd.DataFrame":
        """Return the rows similar to a row as a DataFrame, without that row, as `search` does.

        Args:
            key: The key of the row; a tuple if it has several columns.
            limit: The maximum number of rows.
            columns: Further columns of the table.
            filters: As for `search`.
            all_prefixes: Search rows with other values of the index's prefix columns too, such as other tenants.
        """
        query = SearchQuery(limit, filters, columns=tuple(columns))
        searcher = self._searcher()
        values = key if isinstance(key, tuple) else (key,)
        return results_frame(searcher, [searcher.search_like(values, query, all_prefixes=all_prefixes)], query)

    def hits(
        self,
        text: str | NDArray[np.float32] | Sequence[float],
        *,
        limit: int = 10,
        columns: Sequence[str] = (),
        filters: Filters | None = None,
        max_distance: float | None = None,
        mode: SearchMode = "vector",
        rerank: bool = False,
    ) -> list[Hit]:
        """Return the rows nearest to a text or to a vector as objects, for code that needs no pandas.

        Raises:
            ColumnExchanged: The argument is a vector, and the column has the vectors of another model since. Encode the
                text again with `encode_query`, which then uses that model.
            CrdbvecError: As for `search`.
        """
        query = SearchQuery(limit, filters, max_distance=max_distance, columns=tuple(columns), mode=mode, rerank=rerank)
        if isinstance(text, str):
            (result,) = self._searcher().search_texts([text], query)
            return result.hits
        try:
            return Searcher(self._database, *self._seen).search_vector(np.asarray(text, np.float32), query).hits
        except ColumnExchanged:
            self._present()
            raise

    def status(self) -> RowCounts:
        """Return the numbers of all, embedded, pending, blank, failed and deferred rows."""
        return column_counts(bind_and_check(self._database, *self._present()))

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a text as a search uses it."""
        return self._seen[1].encode_query(text)

    def encode_inputs(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts as those of rows are made.

        Raises:
            ConfigurationError: The entry has `long_inputs: chunks`, so a row has several vectors.
        """
        self._check_one_vector()
        return self._seen[1].encode(list(enumerate(texts))).vectors

    @property
    def metric(self) -> str:
        """The metric of searches: `cosine`, `l2` or `ip`."""
        return bind_column(self._database, *self._present()).metric

    def documents(self, metadata_column: str | None = None) -> Documents:
        """Return the rows as documents that can be written, for the vector stores of other libraries.

        Raises:
            ConfigurationError: The entry has `long_inputs: chunks`, which these stores cannot write.
        """
        self._check_one_vector()
        return Documents(bind_column(self._database, *self._present()), metadata_column)

    def _check_one_vector(self) -> None:
        if self.spec.chunking is not None:
            raise ConfigurationError(
                f"{self.spec} has long_inputs: chunks, and vector stores write one vector a row. Insert the rows into "
                "the table, and run embed."
            )

    def _searcher(self) -> Searcher:
        spec, encoder = self._seen
        searcher = Searcher(self._database, spec, encoder, self._registry)
        if searcher.column.spec.model != spec.model:
            # So that the next call finds the present model at once.
            self._present()
        # Issued for the line that calls the method of this class.
        warn_of_mixed_models(searcher, stacklevel=4)
        return searcher

    def _present(self) -> tuple[VectorColumn, Encoder]:
        """Return the column with the model whose vectors it has now."""
        spec, encoder = self._seen
        present = present_column(self._database, self.spec)
        if present.model != spec.model and self._registry is not None:
            spec, encoder = self._seen = present, self._registry.encoder_of(present)
        return spec, encoder


def open_column(
    table: str,
    output: str,
    *,
    url: str | None = None,
    config: str | Path | ProjectConfig | None = None,
    **settings: Any,
) -> Column:
    """Open a vector column. Nothing is changed in the database, and the model is loaded when it is first needed.

    Args:
        table: The table: `name` or `schema.name`.
        output: The vector column, which need not exist yet.
        url: The URL of the database; by default that of the configuration, otherwise `$CRDBVEC_URL`.
        config: The configuration, or its file; by default `$CRDBVEC_CONFIG`, otherwise crdbvec.yaml if it exists.
        settings: The keys of an entry of `vectors`, in place of those of the configuration. Without an entry for the
            column, at least `input` (or `template`) and `model` are needed.

    Raises:
        ConfigurationError: The column is not described, or a value is not valid.
        DatabaseUnavailable: The database cannot be reached.
        ConnectionRejected: The server rejects the connection.
    """
    project = config if isinstance(config, ProjectConfig) else _read_config(Path(config) if config else None)
    spec = _spec(TableName.parse(table), output, project, settings)
    registry = load_registry(project)
    encoder = registry.encoder_of(spec)
    if project is None and spec.database is not None:
        raise ConfigurationError(f"There is no configuration with a database {spec.database}. Give config, or url.")
    database = project.database_named(spec.database) if project else DatabaseSpec()
    return Column(
        Database(url or database.read_url(), reply_timeout=database.reply_timeout_seconds),
        spec,
        encoder,
        registry,
    )


def _read_config(path: Path | None) -> ProjectConfig | None:
    file = find_config(path)
    return load_config(file) if path or os.environ.get(CONFIG_VARIABLE) or file.exists() else None


def _spec(table: TableName, output: str, project: ProjectConfig | None, settings: dict[str, Any]) -> VectorColumn:
    entries = [
        each
        for each in (project.vectors if project else ())
        if (each.table, each.output) == (table, output) and settings.get("database", each.database) == each.database
    ]
    if len(entries) > 1:
        raise ConfigurationError(
            f"The vector column {table}.{output} is in several databases of the configuration. Give database, one of "
            f"{', '.join(repr(each.database) for each in entries)}."
        )
    if not entries and not {"input", "template"} & set(settings):
        raise ConfigurationError(
            f"The vector column {table}.{output} is not in the configuration. Give input and model, or the file that "
            "describes it (config)."
        )
    values: dict[str, Any] = {"origin": "open_column"}
    for entry in entries:
        values |= {**entry.model_dump(exclude_defaults=True), "origin": entry.origin}
    if {"input", "template"} & set(settings):
        values = {key: value for key, value in values.items() if key not in ("input", "template")}
    return vector_column(**{**values, **settings, "table": str(table), "output": output})
