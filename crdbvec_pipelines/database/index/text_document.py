"""The words of a row's input as the servers index them: the expression of the text index, and its name."""

import hashlib

from psycopg import sql

from crdbvec_pipelines.config import TextIndexSpec
from crdbvec_pipelines.database.aliases import ROW
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.errors import TableError
from crdbvec_pipelines.database.expressions import column_text
from crdbvec_pipelines.database.identifiers import MAX_IDENTIFIER_BYTES
from crdbvec_pipelines.database.table import Column
from crdbvec_pipelines.errors import ConfigurationError

DOCUMENT_CHARACTERS = 100_000
"""Of a longer text, the text index contains the start only.

PostgreSQL rejects a row whose words take more than 1 MiB, so without a limit an application could not insert it. This
many characters take at most nine bytes each, with the positions of their words.
"""

ENDING = "text"
"""The last part of the name of a text index."""

_DIGEST_CHARACTERS = 8
# Their text depends on no setting, so an index may contain it.
_IMMUTABLE_TYPES = frozenset({"int2", "int4", "int8", "numeric", "uuid"})


def text_index_spec(column: ColumnDefinition) -> TextIndexSpec:
    """Return the text index of an entry.

    Raises:
        ConfigurationError: The entry has none.
    """
    if column.spec.text_index is None:
        raise ConfigurationError(
            f"{column.spec.origin}: {column} has no text_index, which keyword and hybrid searches need. Add "
            "`text_index: {language: english}` to its entry in crdbvec.yaml, then run `crdbvec index build`."
        )
    return column.spec.text_index


def configuration(column: ColumnDefinition) -> sql.Composable:
    """Return the text search configuration, as the first argument of the functions that take one."""
    return sql.Literal(text_index_spec(column).language)


def document(column: ColumnDefinition, alias: str | None = ROW) -> sql.Composable:
    """Return the words of a row's input with their positions. Without an input they are none, or NULL.

    The literal text of a template is not part of it, because every row contains it. Neither are columns whose text
    depends on a setting of the session, such as times.

    Args:
        column: The vector column.
        alias: The alias of its table in the statement; None for DDL.

    Raises:
        ConfigurationError: The entry has no text index.
        TableError: No column of the input can be part of a text index.
    """
    settings = text_index_spec(column)
    table, dialect = column.table, column.table.dialect
    parts = [table.columns[name] for name in column.spec.input_columns if _is_indexable(column, table.columns[name])]
    if not parts:
        raise TableError(
            f"{column.spec.origin}: no input column of {column} is a text that can be part of a text index. Remove "
            "text_index, or choose another input."
        )
    texts: list[sql.Composable] = []
    for number, part in enumerate(parts):
        if number:
            texts.append(sql.SQL("E'\\n'::text"))
        text = column_text(part, dialect, alias)
        texts.append(text if len(parts) == 1 else sql.SQL("coalesce({}, '')").format(text))
    return sql.SQL("pg_catalog.to_tsvector({}, pg_catalog.left({}, {}))").format(
        sql.Literal(settings.language), dialect.concatenation(texts), sql.Literal(DOCUMENT_CHARACTERS)
    )


def text_index_name(column: ColumnDefinition) -> str:
    """Return the name of the text index, which contains a digest of its definition."""
    digest = definition_digest(column)
    return f"{_stem(column, digest)}_{digest}_{ENDING}"


def definition_digest(column: ColumnDefinition) -> str:
    """Return the digest of the definition of the text index, which its name contains."""
    definition = f"{column.spec.text_index_output}\n{document(column, None).as_string()}"
    return hashlib.sha256(definition.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def is_configured_text_index(column: ColumnDefinition, index: str) -> bool:
    """Return whether an index of the table has the configured definition; the table's name in it may be earlier."""
    return column.spec.text_index is not None and index.endswith(f"_{definition_digest(column)}_{ENDING}")


def is_text_index_name(column: ColumnDefinition, index: str) -> bool:
    """Return whether an index of the table has the name of a text index of this column, with any definition."""
    stem, _, rest = index.removesuffix(f"_{ENDING}").rpartition("_")
    is_digest = len(rest) == _DIGEST_CHARACTERS and set(rest) <= set("0123456789abcdef")
    return index.endswith(f"_{ENDING}") and is_digest and stem == _stem(column, rest)


def _stem(column: ColumnDefinition, digest: str) -> str:
    kept = MAX_IDENTIFIER_BYTES - len(digest) - len(ENDING) - 2
    return f"{column.table.name.name}_{column.spec.text_index_output}".encode()[:kept].decode(errors="ignore")


def _is_indexable(column: ColumnDefinition, part: Column) -> bool:
    is_stored = part.generated != "v" or column.table.dialect.can_index_virtual_columns
    return is_stored and (part.is_text or part.type_name in _IMMUTABLE_TYPES)
