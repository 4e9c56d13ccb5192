"""The vectors of a random sample of rows, read in pages, and the numbers of rows per value of the prefix columns.

Whether a row is in the sample depends on the md5 of its key, so that one pass over the table reads a sample of any
size, and the same rows each time.
"""

from collections.abc import Iterator, Sequence

from psycopg import sql

from crdbvec_pipelines.database.aliases import aliased, reference
from crdbvec_pipelines.database.column import BoundColumn, ColumnDefinition
from crdbvec_pipelines.database.connection import Row
from crdbvec_pipelines.database.expressions import bound_parameters, follower_read_clause, in_range, key_list
from crdbvec_pipelines.database.rows.row_error_statements import row_key_json
from crdbvec_pipelines.database.statement import follower_read
from crdbvec_pipelines.database.table import Column

# A page as lists of numbers takes about 32 bytes per number.
_PAGE_NUMBERS = 1_000_000
_DIGEST_DIGITS = 8


@follower_read
def vectors_page(
    column: ColumnDefinition, prefix: Sequence[Column], *, has_after: bool, is_sampled: bool
) -> sql.Composable:
    """Return vector, prefix columns and key of at most `limit` rows with a vector, in key order.

    With `is_sampled`, only rows whose digest of the key is below `digest` are read.
    """
    output = reference(column.spec.output)
    returned = [sql.SQL("{}::real[]").format(output), *(reference(part.name) for part in prefix)]
    digest = sql.SQL("pg_catalog.left(pg_catalog.md5({}), {})").format(
        row_key_json(column.table), sql.Literal(_DIGEST_DIGITS)
    )
    return sql.SQL(
        "SELECT {returned}, {key} FROM {table}{past} WHERE {range} AND {output} IS NOT NULL{sampled} "
        "ORDER BY {key} LIMIT %(limit)s"
    ).format(
        returned=sql.SQL(", ").join(returned),
        key=key_list(column.table),
        table=aliased(column.table),
        past=follower_read_clause(column.table),
        range=in_range(column.table, has_lower=False, has_upper=False, has_after=has_after),
        output=output,
        sampled=sql.SQL(" AND {} < %(digest)s::text").format(digest) if is_sampled else sql.SQL(""),
    )


@follower_read
def prefix_sizes(column: ColumnDefinition, prefix: Sequence[Column]) -> sql.Composable:
    """Return how many values of the prefix columns have how many rows with a vector; one value without prefix."""
    names = sql.SQL(", ").join(reference(part.name) for part in prefix)
    return sql.SQL(
        "SELECT crdbvec_sizes.crdbvec_rows, count(*) FROM (SELECT count(*) AS crdbvec_rows FROM {table} "
        "WHERE {output} IS NOT NULL{group}) AS crdbvec_sizes{past} GROUP BY crdbvec_sizes.crdbvec_rows"
    ).format(
        table=aliased(column.table),
        output=reference(column.spec.output),
        group=sql.SQL(" GROUP BY {}").format(names) if prefix else sql.SQL(""),
        past=follower_read_clause(column.table),
    )


def read_vectors(column: BoundColumn, prefix: Sequence[Column], share: float) -> Iterator[Row]:
    """Yield vector, prefix columns and key of a random share of the rows with a vector, in key order.

    Args:
        column: The vector column.
        prefix: The prefix columns.
        share: The share; 1 or more for all rows.
    """
    limit = max(1, _PAGE_NUMBERS // column.model.dim)
    digest = f"{int(min(share, 1.0) * (16**_DIGEST_DIGITS - 1)):0{_DIGEST_DIGITS}x}"
    after: Sequence[object] = ()
    while True:
        page = column.database.fetch(
            vectors_page(column, prefix, has_after=bool(after), is_sampled=share < 1).as_of("follower_read"),
            {"limit": limit, "digest": digest, **bound_parameters("after", after)},
        )
        yield from page
        if len(page) < limit:
            return
        after = page[-1][1 + len(prefix) :]


def read_prefix_sizes(column: BoundColumn, prefix: Sequence[Column]) -> list[tuple[int, int]]:
    """Return pairs of a number of rows and the number of values of the prefix columns with it."""
    rows = column.database.fetch(prefix_sizes(column, prefix).as_of("follower_read"))
    return [(int(size), int(count)) for size, count in rows if size]
