"""Statements of `crdbvec_claims`, a metadata table (one per schema) of the key ranges that processes work on.

All of them have the parameters `table_name` and `output`, which identify the vector column, and `owner`, which
identifies one refresh of one process.
"""

from psycopg import sql

from crdbvec_pipelines.database.aliases import reference
from crdbvec_pipelines.database.expressions import key_operator, placeholder
from crdbvec_pipelines.database.statement import statement
from crdbvec_pipelines.database.table import Table

CLAIMS_TABLE = "crdbvec_claims"

_OF_COLUMN = sql.SQL("crdbvec_claim.table_name = %(table_name)s::text AND crdbvec_claim.output = %(output)s::text")


def _claims(schema: str) -> sql.Identifier:
    return sql.Identifier(schema, CLAIMS_TABLE)


@statement
def create_claims_table(schema: str) -> sql.Composable:
    """Create the table of claims. A bound is a JSON array of text, one element per key column; NULL is an open end."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (table_name TEXT NOT NULL, output TEXT NOT NULL, owner TEXT NOT NULL, "
        "lower_bound TEXT, upper_bound TEXT, claimed_at TIMESTAMPTZ NOT NULL, expires_at TIMESTAMPTZ NOT NULL, "
        "PRIMARY KEY (table_name, output, owner))"
    ).format(_claims(schema))


@statement
def insert_claim(schema: str) -> sql.Composable:
    """Claim a key range; it is not an error if the statement was committed before, without an answer."""
    return sql.SQL(
        "INSERT INTO {} (table_name, output, owner, lower_bound, upper_bound, claimed_at, expires_at) VALUES "
        "(%(table_name)s::text, %(output)s::text, %(owner)s::text, %(lower_bound)s::text, %(upper_bound)s::text, "
        "now(), now() + %(lifetime)s::interval) ON CONFLICT (table_name, output, owner) DO NOTHING"
    ).format(_claims(schema))


@statement
def renew_claim(schema: str) -> sql.Composable:
    """Extend the lifetime of a claim."""
    return sql.SQL(
        "UPDATE {} AS crdbvec_claim SET expires_at = now() + %(lifetime)s::interval "
        "WHERE {} AND crdbvec_claim.owner = %(owner)s::text"
    ).format(_claims(schema), _OF_COLUMN)


@statement
def delete_claim(schema: str) -> sql.Composable:
    """Release a claim."""
    return sql.SQL("DELETE FROM {} AS crdbvec_claim WHERE {} AND crdbvec_claim.owner = %(owner)s::text").format(
        _claims(schema), _OF_COLUMN
    )


@statement
def delete_expired_claims(schema: str) -> sql.Composable:
    """Delete claims whose process did not extend them for a long time."""
    return sql.SQL(
        "DELETE FROM {} AS crdbvec_claim WHERE {} AND crdbvec_claim.expires_at < now() - interval '1 hour'"
    ).format(_claims(schema), _OF_COLUMN)


@statement
def read_earlier_claims(table: Table, *, has_lower: bool, has_upper: bool) -> sql.Composable:
    """Read the claims of other owners that overlap a key range, have not expired, and are older than the owner's own.

    The older of two overlapping claims wins, so that of two processes exactly one waits. Text is compared by the
    database's default collation here; a claim is advisory, so that is accurate enough for a key with another one.
    """
    overlap = [
        *([_compare(table, "upper_bound", ">", "lower")] if has_lower else []),
        *([_compare(table, "lower_bound", "<", "upper")] if has_upper else []),
    ]
    return sql.SQL(
        "SELECT crdbvec_claim.owner, crdbvec_claim.lower_bound, crdbvec_claim.upper_bound "
        "FROM {claims} AS crdbvec_claim "
        "LEFT JOIN {claims} AS crdbvec_own ON crdbvec_own.table_name = crdbvec_claim.table_name "
        "AND crdbvec_own.output = crdbvec_claim.output AND crdbvec_own.owner = %(owner)s::text "
        "WHERE {of_column} AND crdbvec_claim.owner <> %(owner)s::text AND crdbvec_claim.expires_at > now() "
        "AND (crdbvec_own.owner IS NULL OR crdbvec_claim.claimed_at < crdbvec_own.claimed_at "
        "OR (crdbvec_claim.claimed_at = crdbvec_own.claimed_at AND crdbvec_claim.owner < crdbvec_own.owner)){overlap} "
        "ORDER BY crdbvec_claim.claimed_at, crdbvec_claim.owner"
    ).format(
        claims=_claims(table.name.schema),
        of_column=_OF_COLUMN,
        overlap=sql.SQL("").join(sql.SQL(" AND {}").format(test) for test in overlap),
    )


def _compare(table: Table, bound: str, operator: str, prefix: str) -> sql.Composable:
    """Return whether a stored bound is open, or compares to the bound in the parameters `prefix_0`, `prefix_1`, ..."""
    stored = [
        sql.SQL("({}::jsonb ->> {})::{}").format(
            reference(bound, "crdbvec_claim"), sql.Literal(position), sql.SQL(part.cast)
        )
        for position, part in enumerate(table.key)
    ]
    given = [placeholder(part, f"{prefix}_{position}") for position, part in enumerate(table.key)]
    row = "{} {} {}" if len(table.key) == 1 else "({}) {} ({})"
    return sql.SQL("({bound} IS NULL OR {test})").format(
        bound=reference(bound, "crdbvec_claim"),
        test=sql.SQL(row).format(sql.SQL(", ").join(stored), key_operator(table, operator), sql.SQL(", ").join(given)),
    )
