"""Findings about one vector column: privileges of each command, what discards writes or hides rows, indexes."""

from collections.abc import Iterator, Sequence

from psycopg import sql

from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn
from crdbvec_pipelines.database.diagnosis.finding import Finding
from crdbvec_pipelines.database.diagnosis.statements import (
    has_row_security,
    has_vector,
    list_column_privileges,
    list_update_rules,
    list_update_triggers,
    read_privileges,
)
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.limits.statements import CONNECTIONS_TABLE, LIMITS_TABLE
from crdbvec_pipelines.database.rows.claim_statements import CLAIMS_TABLE
from crdbvec_pipelines.database.rows.lag import LAGS_TABLE
from crdbvec_pipelines.database.rows.row_error_statements import ERRORS_TABLE
from crdbvec_pipelines.database.rows.usage import USAGE_TABLE
from crdbvec_pipelines.database.rows.vector_rows import VectorRows
from crdbvec_pipelines.database.schema.column_metadata import VECTOR_COLUMNS_TABLE
from crdbvec_pipelines.database.schema.metadata_version import VERSION_TABLE
from crdbvec_pipelines.database.schema.prepare import is_prepared, required_statements
from crdbvec_pipelines.database.schema.requirements import TableFacts, read_table_facts
from crdbvec_pipelines.database.schema.triggers import TRIGGER
from crdbvec_pipelines.database.suspension import suspended_since, suspended_text
from crdbvec_pipelines.naming import TableName

METADATA_TABLES = (
    ERRORS_TABLE,
    VECTOR_COLUMNS_TABLE,
    CLAIMS_TABLE,
    LIMITS_TABLE,
    CONNECTIONS_TABLE,
    LAGS_TABLE,
    USAGE_TABLE,
    VERSION_TABLE,
)
_CHANGES = ("SELECT", "INSERT", "UPDATE", "DELETE")


def table_findings(column: BoundColumn) -> Iterator[Finding]:
    """Yield the findings about a vector column whose table was read and checked."""
    key = ", ".join(f"{part.name} {part.cast}" for part in column.table.key)
    yield Finding("ok", "table", str(column), f"The key is ({key}), and the types of the columns can be used.")
    missing = list(_missing_privileges(column))
    yield from missing or [Finding("ok", "privileges", str(column), "The role has the privileges of every command.")]
    if any(finding.level == "error" for finding in missing):
        return
    yield from _discarded_writes(column)
    yield from _schema(column)


def _missing_privileges(column: BoundColumn) -> Iterator[Finding]:
    database, table, spec = column.database, column.table, column.spec
    facts = TableFacts(*database.fetch_one(read_table_facts(database.dialect), {"oid": table.oid}))
    usage, reads, *_ = _privileges(column, table.name)
    if not usage:
        yield _lacking(column, "every command", "USAGE", f"SCHEMA {_name(table.name.schema)}", facts.role)
    columns = database.fetch(list_column_privileges(), {"oid": table.oid})
    needed = {part.name for part in table.key} | {*spec.watched_columns, spec.output}
    needed |= {name for name in (spec.fingerprint_column, spec.updated_at) if name is not None}
    unreadable = [name for name, may_read, _ in columns if name in needed and not may_read]
    if unreadable and not reads:
        yield _lacking(
            column, "plan, search, status and embed", "SELECT", _name(*table.name), facts.role, column=unreadable
        )
    written = {spec.output, spec.fingerprint_column or spec.output} & table.columns.keys()
    unwritable = [name for name, _, may_update in columns if name in written and not may_update]
    if unwritable:
        yield _lacking(column, "embed", "UPDATE", _name(*table.name), facts.role, column=unwritable)
    unusable = list(_missing_on_metadata(column, facts.role))
    yield from unusable
    if not unusable:
        yield from _missing_of_owner(column, facts)


def _missing_on_metadata(column: BoundColumn, role: str) -> Iterator[Finding]:
    schema = column.table.name.schema
    for name in METADATA_TABLES:
        has = _privileges(column, TableName(schema, name))
        lacking = [privilege for privilege, is_granted in zip(_CHANGES, has[1:], strict=False) if not is_granted]
        if lacking:
            yield _lacking(column, "embed and status", ", ".join(lacking), _name(schema, name), role)


def _missing_of_owner(column: BoundColumn, facts: TableFacts) -> Iterator[Finding]:
    changes = [ddl.text for ddl in required_statements(column)]
    if changes and not (facts.is_owner and facts.can_create):
        statements = " ".join(f"{text};" for text in changes)
        yield Finding(
            "error",
            "privileges",
            str(column),
            f"embed must prepare the table, and the role {facts.role} is not its owner or must not create tables in "
            "its schema.",
            f"Let the owner run `crdbvec embed` once, or these statements: {statements}",
        )
    elif not facts.is_owner:
        yield Finding(
            "warning",
            "privileges",
            str(column),
            f"The role {facts.role} is not the owner of the table, so it cannot build a vector index or change the "
            "prepared table. All other commands work.",
            "Run `crdbvec index build` as the owner.",
        )


def _privileges(column: BoundColumn, name: TableName) -> tuple[bool, ...]:
    """Return whether the role may use the schema of a table, and change the table; empty if there is no such table."""
    found = column.database.fetch(read_privileges(), {"schema": name.schema, "table": name.name})
    return tuple(found[0]) if found else ()


def _lacking(
    bound: BoundColumn, command: str, privilege: str, object_name: str, role: str, column: Sequence[str] = ()
) -> Finding:
    """Return the finding about a missing privilege, with the GRANT that gives it."""
    if column and bound.database.dialect.has_column_privileges:
        privilege = f"{privilege} ({', '.join(map(_name, column))})"
    return Finding(
        "error",
        "privileges",
        str(bound),
        f"The role {role} must not {privilege.split(' (')[0]} on {object_name}, which {command} needs.",
        f"Run: GRANT {privilege} ON {object_name} TO {_name(role)};",
    )


def _name(*parts: str) -> str:
    return sql.Identifier(*parts).as_string()


def _discarded_writes(column: BoundColumn) -> Iterator[Finding]:
    database, oid = column.database, {"oid": column.table.oid}
    triggers = [name for (name,) in database.fetch(list_update_triggers(), {**oid, "own": TRIGGER})]
    rules = [name for (name,) in database.fetch(list_update_rules(), oid)]
    if database.fetch_one(has_row_security(database.dialect), oid)[0]:
        yield Finding(
            "warning",
            "policies",
            str(column),
            "Row-level security applies to this role: rows that a policy hides are neither counted nor embedded.",
            "Use a role with BYPASSRLS, or the owner of a table without FORCE ROW LEVEL SECURITY.",
        )
    for name in rules:
        yield Finding(
            "error",
            "triggers",
            str(column),
            f"The rule {name} replaces an UPDATE of the table, so no vector can be written.",
            f"Drop it: DROP RULE {_name(name)} ON {_name(*column.table.name)};",
        )
    has_vectors = column.exists and bool(database.fetch(has_vector(column)))
    if has_vectors and not rules and not VectorRows(column).accepts_vectors():
        yield Finding(
            "error",
            "triggers",
            str(column),
            "A vector that was written again (and rolled back) was not accepted: "
            + (f"the trigger {' or '.join(triggers)} discards it" if triggers else "a policy, or locks, prevent it")
            + ".",
            "Change it so that an UPDATE of the vector column is kept, or repeat the check when no transaction has "
            "locked all rows.",
        )
    elif triggers:
        yield Finding(
            "warning",
            "triggers",
            str(column),
            f"{', '.join(triggers)} runs before each UPDATE of a row, and may discard or change it.",
            "Let the function return NEW for an UPDATE that changes only the vector column and its fingerprint.",
        )
    else:
        yield Finding("ok", "triggers", str(column), "No trigger or rule discards a written vector.")


def _schema(column: BoundColumn) -> Iterator[Finding]:
    changes = [ddl.name for ddl in required_statements(column)]
    if changes:
        yield Finding(
            "ok" if column.spec.manage_schema else "error",
            "schema",
            str(column),
            f"{'The table is not prepared' if not is_prepared(column) else 'The prepared table has changed'}: "
            f"{len(changes)} statements are needed ({', '.join(changes)}).",
            "`crdbvec embed` runs them."
            if column.spec.manage_schema
            else "manage_schema is off: `crdbvec embed` lists them, and the owner runs them.",
        )
    else:
        yield Finding("ok", "schema", str(column), "The table is prepared, and its pending index is valid.")
    since = suspended_since(column)
    if since is not None:
        yield Finding(
            "warning",
            "suspended",
            str(column),
            f"The vector column is {suspended_text(since)}, so none of its rows is embedded.",
            "Run `crdbvec resume`.",
        )
    if column.spec.index is None or not column.exists:
        return
    index = VectorIndex(vectors_of(column))
    differences = index.differences()
    if index.name not in index.existing():
        yield Finding(
            "warning",
            "index",
            str(column),
            f"The vector index {index.name} does not exist, so searches compare every row.",
            "Run `crdbvec index build`.",
        )
    elif differences:
        yield Finding(
            "warning",
            "index",
            str(column),
            f"The vector index {index.name} differs from the configuration ({'; '.join(differences)}).",
            "Run `crdbvec index build --replace`.",
        )
    else:
        yield Finding("ok", "index", str(column), f"The vector index {index.name} is complete.")
