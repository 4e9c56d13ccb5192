"""The ledger: each statement that the product can send, built for a dialect and several kinds of vector column.

The functions marked with `@statement` are found by the register, and each is built with examples of its parameters. A
parameter with a new name needs an example in `_EXAMPLES`; otherwise the test fails with a message that says so.
"""

import importlib
import inspect
import itertools
import pkgutil
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from psycopg import sql

import crdbvec_pipelines
from crdbvec_pipelines.config import VectorColumn, vector_column
from crdbvec_pipelines.database.chunks.table import chunk_definition
from crdbvec_pipelines.database.column import ColumnDefinition
from crdbvec_pipelines.database.dialects import Dialect, PostgresDialect
from crdbvec_pipelines.database.index.statements import vector_index_name
from crdbvec_pipelines.database.schema.column_metadata import ColumnMetadata
from crdbvec_pipelines.database.schema.metadata_version import CURRENT_VERSION
from crdbvec_pipelines.database.schema.statements import pending_index_name
from crdbvec_pipelines.database.search.filters import Filter
from crdbvec_pipelines.database.search.statements import SearchClauses
from crdbvec_pipelines.database.session import NO_STATEMENT_TIMEOUT, SESSION_SETTINGS
from crdbvec_pipelines.database.statement import Statement, follower_reads, registered_statements
from crdbvec_pipelines.database.table import Column, Table
from tests.support.vectors import METRICS
from tests.support.work import FakeModel

MODEL = FakeModel(dim=384)

_CASTS = {"int4": "integer", "int8": "bigint", "timestamptz": "timestamp with time zone"}


@dataclass(frozen=True)
class Case:
    """A kind of vector column.

    Attributes:
        title: Its title in the ledger.
        table: The table.
        spec: The configuration entry.
    """

    title: str
    table: Table
    spec: VectorColumn

    def on(self, dialect: Dialect) -> "Case":
        """Return the case on a server of another kind."""
        return replace(self, table=replace(self.table, dialect=dialect))

    @property
    def columns(self) -> list[ColumnDefinition]:
        """The vector column, by models of each metric."""
        return [ColumnDefinition(self.table, self.spec, replace(MODEL, metric=metric)) for metric in METRICS]


@dataclass(frozen=True)
class Entry:
    """One statement of the ledger. The title names the kind of column and the arguments."""

    title: str
    statement: Statement


def _case(title: str, columns: Mapping[str, str], key: Sequence[str], **spec: object) -> Case:
    vector = vector_column(output="v", model="m", **spec)
    types = {
        **columns,
        vector.output: "int8" if vector.chunking else "vector",
        **({vector.fingerprint_column: "text"} if vector.fingerprint_column else {}),
    }
    by_name = {name: Column(name, kind, _CASTS.get(kind, kind), -1) for name, kind in types.items()}
    table = Table(vector.table, by_name, tuple(by_name[name] for name in key), PostgresDialect())
    return Case(title, table, vector)


CASES = (
    _case(
        "one text",
        {"id": "uuid", "passage": "text", "attributes": "jsonb"},
        ["id"],
        table="passage",
        input="passage",
        text_index={},
    ),
    _case(
        "template, composite key, special characters in names",
        {"realm": "text", "chapter": "int4", "verse": "int8", "the title": "text", "body": "text"},
        ["realm", "chapter", "verse"],
        table='"Sales eu"."order.lines"',
        template="100% {the title}: {body} %(limit)s",
        index={"prefix": ["realm", "chapter"], "min_partition_size": 8, "build_beam_size": 16, "m": 24},
        text_index={"language": "german"},
    ),
    _case(
        "list of columns, trigger, updated_at",
        {"id": "int8", "title": "text", "body": "text", "year": "int4", "changed": "timestamptz"},
        ["id"],
        table="note",
        input=["title", "body", "year"],
        staleness="trigger",
        updated_at="changed",
        text_index={"language": "simple"},
    ),
    _case(
        "types whose text has settings, updated_at without time zone",
        {"id": "int8", "length": "float8", "duration": "interval", "image": "bytea", "changed": "timestamp"},
        ["id"],
        table="track",
        template="{length} m in {duration}: {image}",
        updated_at="changed",
        updated_at_timezone="Europe/Berlin",
    ),
    _case(
        "chunks",
        {"realm": "text", "verse": "int8", "the title": "text", "body": "text", "tenant": "int4"},
        ["realm", "verse"],
        table="order.lines",
        input="body",
        long_inputs="chunks",
        chunks={"prefix": "100% {the title}: ", "store_text": True},
        index={"prefix": ["tenant"]},
        text_index={},
    ),
    _case(
        "bytea, nulls_only",
        {"id": "text", "image": "bytea"},
        ["id"],
        table="picture",
        input="image",
        staleness="nulls_only",
    ),
)


def _metadata(case: Case) -> ColumnMetadata:
    spec = case.spec
    return ColumnMetadata(spec.output, spec.watched_columns, spec.fingerprint_column, spec.staleness, ("m",))


_CLAUSES_TITLES = (
    "default",
    "without the predicate of a partial index",
    "all values of a prefix column",
    "comparisons, ranges, patterns, paths",
    "rows of a key range without their input",
    "all",
)


def _clauses(dialect: Dialect, case: Case) -> list[SearchClauses]:
    """The search clauses in the order of `_CLAUSES_TITLES`."""
    text = next(column for column in case.table.columns.values() if column.name not in case.spec.input_columns)
    return [
        SearchClauses(),
        SearchClauses(requires_vector=False),
        SearchClauses(filters_inside=(Filter(case.table.key[0], is_list=True),), requires_vector=False),
        SearchClauses(filters_inside=_filters(case)),
        SearchClauses(has_lower=True, has_upper=True, returns_input=False),
        SearchClauses(
            filters_inside=(Filter(case.table.key[0], 1),),
            filters_outside=(Filter(text, 2, allows_null=True),),
            columns=tuple(name for name in case.table.columns if name != case.spec.output)[:1],
            has_max_distance=True,
            excludes_key=True,
            follower_read=dialect.vectors.follower_read_clause,
            reads_models=True,
        ),
    ]


def _filters(case: Case) -> tuple[Filter, ...]:
    """Every kind of condition; those on JSON only for a table that has a column of it."""
    key = case.table.key[0]
    text = next((column for column in case.table.columns.values() if column.type_name == "text"), None)
    document = next((column for column in case.table.columns.values() if column.type_name == "jsonb"), None)
    found = [
        Filter(key, 1, operator="<"),
        Filter(key, 1, operator="!=", allows_null=True, first=1),
        Filter(key, 1, ranges=((True, True), (True, False)), allows_null=True, first=2),
    ]
    if text is not None:
        found += [Filter(text, 1, operator="~"), Filter(text, 1, operator="!~*", first=1)]
    if document is not None:
        found += [
            Filter(document, 2, is_path=True),
            Filter(document, 1, is_path=True, is_numeric=True, first=3),
            Filter(document, 1, operator=">=", is_path=True, is_numeric=True, first=5),
            Filter(document, 1, operator="~", is_path=True, first=7),
        ]
    return tuple(found)


def _settings(dialect: Dialect) -> dict[str, str | int]:
    search = {**dialect.vectors.settings(100, filtered=False), **dialect.vectors.settings(100, filtered=True)}
    fixed = {**SESSION_SETTINGS, **dialect.text_settings}
    quality = dialect.quality_of_service_settings("background")
    return {**fixed, "statement_timeout": "30000ms", **dialect.ddl_lock_settings, **quality, **search}


# The examples of each parameter for a case. Parameters whose type is a Literal or bool need none.
_EXAMPLES: Mapping[str, Callable[[Dialect, Case], Sequence[object]]] = {
    "dialect": lambda dialect, case: [dialect],
    "table": lambda dialect, case: [case.table],
    "column": lambda dialect, case: case.columns,
    "column_name": lambda dialect, case: [case.spec.fingerprint_column or case.spec.output],
    "columns": lambda dialect, case: [[_metadata(case), replace(_metadata(case), output="w", fingerprint=None)]],
    "schema": lambda dialect, case: [case.table.name.schema],
    "index": lambda dialect, case: [pending_index_name(case.spec)],
    "new_name": lambda dialect, case: [vector_index_name(case.spec)],
    "renames": lambda dialect, case: [
        [("v", "v_exchanged"), ("w", "v"), ("v_exchanged", "w")][: None if dialect.renames_columns_together else 1]
    ],
    "name": lambda dialect, case: ["a_name"],
    "grantee": lambda dialect, case: ["a_role", "PUBLIC"],
    "privilege": lambda dialect, case: ["SELECT"],
    "granted_column": lambda dialect, case: [None, case.spec.output],
    "constraint": lambda dialect, case: ["a_constraint"],
    "function": lambda dialect, case: ["a_function"],
    "earlier": lambda dialect, case: [0, 2],
    "bounds": lambda dialect, case: [2],
    "keys": lambda dialect, case: [2],
    "terms": lambda dialect, case: [2],
    "phrases": lambda dialect, case: [2],
    "text_index": lambda dialect, case: ["a_text_index"],
    "key_column": lambda dialect, case: [each for each in case.table.key if each.is_text],
    "clauses": _clauses,
    "prefix": lambda dialect, case: [[], case.table.key[:1]],
    "prefix_column": lambda dialect, case: case.table.key[:1],
    "text_column": lambda dialect, case: [case.table.columns[case.spec.input_columns[0]]],
    "metadata_column": lambda dialect, case: [
        each for each in case.table.columns.values() if each.type_name == "jsonb"
    ],
    "filter_column": lambda dialect, case: case.table.key[:1],
    "setting": lambda dialect, case: [
        *_settings(dialect).items(),
        *NO_STATEMENT_TIMEOUT.items(),
        *dialect.write_lock_settings.items(),
    ],
    "setting_name": lambda dialect, case: [
        name
        for name in {**_settings(dialect), **dialect.write_lock_settings}
        if name not in {**SESSION_SETTINGS, **dialect.text_settings}
    ],
    "search": lambda dialect, case: [sql.SQL("SELECT 1")],
    "version": lambda dialect, case: [CURRENT_VERSION],
    "chunks": lambda dialect, case: [2],
    "chunk_column": lambda dialect, case: list(chunk_definition(case.columns[0]).table.columns.values())[-2:-1],
    "excluded": lambda dialect, case: [(), ((True, True), (False, True))],
}

# Statements that are sent only for some vector columns.
_SENT_FOR: Mapping[str, Callable[[Case], bool]] = {
    **dict.fromkeys(
        ("create_text_index", "combine_text_indexes", "keyword_matches"),
        lambda case: case.spec.text_index is not None,
    ),
    **dict.fromkeys(
        (
            "add_chunk_column",
            "add_marker_column",
            "create_chunk_table",
            "delete_chunks",
            "delete_surplus_chunks",
            "drop_chunk_column",
            "drop_chunk_table",
            "nearest_chunks_exact",
            "nearest_chunks_indexed",
            "read_orphaned_chunks",
            "replace_chunks",
            "replace_further_chunks",
            "replace_unlocked_chunks",
            "reset_chunk_counts",
            "vectors_of_row",
        ),
        lambda case: case.spec.chunking is not None,
    ),
    **dict.fromkeys(
        (
            "add_vector_column",
            "create_vector_index",
            "nearest_exact",
            "nearest_indexed",
            "application_search",
            "count_vectors",
            "write_vector",
            "write_unlocked_vector",
            "vector_of_row",
            "sample_vectors",
            "vectors_page",
            "rewrite_a_vector",
        ),
        lambda case: case.spec.chunking is None,
    ),
    "adopt_vectors": lambda case: case.spec.fingerprint_column is not None and case.spec.chunking is None,
    "has_vector_without_fingerprint": lambda case: case.spec.fingerprint_column is not None,
    "count_other_models": lambda case: case.spec.fingerprint_column is not None,
    "count_edited": lambda case: case.spec.updated_at is not None,
    "has_edited": lambda case: case.spec.updated_at is not None,
    "latest_update": lambda case: case.spec.updated_at is not None,
    "oldest_unembedded": lambda case: case.spec.updated_at is not None,
    "oldest_pending": lambda case: case.spec.updated_at is not None,
    "read_stored_vectors": lambda case: case.spec.fingerprint_column is not None and case.spec.chunking is None,
}


def build(dialect: Dialect) -> Iterator[tuple[str, str, list[Entry]]]:
    """Yield every statement for a dialect: its name, its purpose, and its distinct texts."""
    for name, function in sorted(_functions().items()):
        entries: dict[str, Entry] = {}
        for title, arguments in _calls(function, dialect):
            statement = function(**arguments)
            entries.setdefault(statement.text, Entry(title, statement))
            past = statement.as_of("follower_read")
            entries.setdefault(past.text, Entry(f"{title}, follower read" if title else "follower read", past))
        yield name, (inspect.getdoc(function) or "").splitlines()[0], list(entries.values())


def render(dialect: Dialect) -> str:
    """Return the ledger of a dialect, as a file in tests/snapshots contains it."""
    lines = [
        f"-- Every statement that reaches a {dialect.name} server, for several kinds of vector column.",
        "-- Made by `CRDBVEC_UPDATE_SNAPSHOTS=1 python -m pytest tests/database/test_ledger.py`.",
        "-- A query reads the present unless it says that it may be a follower read.",
    ]
    for name, purpose, entries in build(dialect):
        if name in follower_reads():
            purpose += " May be a follower read."
        lines += ["", *textwrap.wrap(f"{name}: {purpose}", 118, initial_indent="-- ", subsequent_indent="--     ")]
        for entry in entries:
            text = f"{entry.statement.text};" if entry.statement.text else "-- (not sent to this server)"
            lines += [f"--   {entry.title}", text] if entry.title else [text]
    return "\n".join(lines) + "\n"


def _functions() -> dict[str, Callable[..., Statement]]:
    """Return the functions marked with `@statement`, by name."""
    found: dict[str, Callable[..., Statement]] = {}
    for module_info in pkgutil.walk_packages(crdbvec_pipelines.__path__, "crdbvec_pipelines."):
        if module_info.name.startswith("crdbvec_pipelines.database"):
            module = importlib.import_module(module_info.name)
            for name, value in vars(module).items():
                is_builder = name in registered_statements() and hasattr(value, "__wrapped__")
                if is_builder and value.__module__ == module.__name__:
                    assert name not in found, f"two statements are named {name}"
                    found[name] = value
    assert found.keys() == registered_statements()
    return found


def _calls(function: Callable[..., Statement], dialect: Dialect) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the arguments to build a statement with, and their title."""
    hints = get_type_hints(inspect.unwrap(function))
    names = list(inspect.signature(function).parameters)
    is_per_case = bool({"table", "column"} & set(names))
    cases = [
        case.on(dialect) for case in CASES if function.__name__ not in _SENT_FOR or _SENT_FOR[function.__name__](case)
    ]
    for case in cases if is_per_case else cases[:1]:
        calls = list(_arguments(names, hints, dialect, case))
        # All combinations for the first kind of column; for the others the last one, which has the most clauses.
        for arguments in calls if case is cases[0] else calls[-1:]:
            parts = [case.title] if is_per_case else []
            if _depends_on_metric(function, arguments, case):
                parts.append(f"metric={arguments['column'].metric}")
            for name, value in arguments.items():
                if name == "clauses":
                    parts.append(f"clauses={_CLAUSES_TITLES[_clauses(dialect, case).index(value)]}")
                elif name == "excluded":
                    parts.append(f"excluded={len(value)} ranges")
                elif hints[name] is bool or get_origin(hints[name]) is Literal or isinstance(value, int):
                    parts.append(f"{name}={value}")
            yield ", ".join(parts), arguments


def _arguments(
    names: Sequence[str], hints: Mapping[str, Any], dialect: Dialect, case: Case
) -> Iterator[dict[str, Any]]:
    """Yield all combinations of examples; flags are either all set or all not set."""
    flags = [name for name in names if hints[name] is bool]
    others = [name for name in names if name not in flags]
    choices = [_examples(name, hints[name], dialect, case) for name in others]
    for values in itertools.product(*choices):
        for flag in (False, True) if flags else (False,):
            chosen = {**dict(zip(others, values, strict=True)), **dict.fromkeys(flags, flag)}
            yield {name: chosen[name] for name in names}


def _examples(name: str, hint: object, dialect: Dialect, case: Case) -> Sequence[object]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    assert name in _EXAMPLES, f"add an example of the parameter {name} to _EXAMPLES in tests/database/ledger.py"
    return _EXAMPLES[name](dialect, case)


def _depends_on_metric(function: Callable[..., Statement], arguments: Mapping[str, object], case: Case) -> bool:
    """Return whether the text of a statement is different for another metric."""
    if "column" not in arguments:
        return False
    return len({function(**{**arguments, "column": column}).text for column in case.columns}) > 1
