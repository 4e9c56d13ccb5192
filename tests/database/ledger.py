"""Each statement that the product can send, built for a dialect and several kinds of vector column.

Nothing here names a statement: whatever is marked with `@statement` is found and built, with an example for each of its
parameters. A statement with a parameter of a new name needs an example in `_EXAMPLES`, and the test says so.
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
from crdbvec_pipelines.database.catalogue import KeptColumn
from crdbvec_pipelines.database.dialects import Dialect
from crdbvec_pipelines.database.introspect import Column, Table
from crdbvec_pipelines.database.schema import pending_index_name
from crdbvec_pipelines.database.session import EVERY_SESSION, NO_TIMEOUT
from crdbvec_pipelines.database.similarity import Filter, Shape
from crdbvec_pipelines.database.statement import Statement, catalogue

DIMENSION = 384

_CASTS = {"int4": "integer", "int8": "bigint", "timestamptz": "timestamp with time zone"}


@dataclass(frozen=True)
class Case:
    """One kind of vector column: how it is called in the ledger, its table, and what the configuration says."""

    title: str
    table: Table
    spec: VectorColumn


@dataclass(frozen=True)
class Entry:
    """One statement of the ledger; `title` says of what kind of column it is, and with which arguments."""

    title: str
    statement: Statement


def _case(title: str, columns: Mapping[str, str], key: Sequence[str], **spec: object) -> Case:
    vector = vector_column(output="v", model="m", **spec)
    types = {
        **columns,
        vector.output: "vector",
        **({vector.fingerprint_column: "text"} if vector.fingerprint_column else {}),
    }
    made = {name: Column(name, kind, _CASTS.get(kind, kind), -1) for name, kind in types.items()}
    return Case(title, Table(vector.table, made, tuple(made[name] for name in key)), vector)


CASES = (
    _case("one text", {"id": "uuid", "passage": "text"}, ["id"], table="passage", input="passage"),
    _case(
        "template, composite key, odd names",
        {"realm": "text", "chapter": "int4", "verse": "int8", "the title": "text", "body": "text"},
        ["realm", "chapter", "verse"],
        table='"Sales eu"."order.lines"',
        template="100% {the title}: {body} %(limit)s",
        index={"prefix": ["realm", "chapter"], "min_partition_size": 8, "build_beam_size": 16, "m": 24},
    ),
    _case(
        "list of columns, trigger, updated_at",
        {"id": "int8", "title": "text", "body": "text", "year": "int4", "changed": "timestamptz"},
        ["id"],
        table="note",
        input=["title", "body", "year"],
        staleness="trigger",
        updated_at="changed",
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


def _kept(case: Case) -> KeptColumn:
    spec = case.spec
    return KeptColumn(spec.output, spec.input_columns, spec.fingerprint_column, spec.staleness, ("m",))


def _shapes(dialect: Dialect, case: Case) -> list[Shape]:
    text = next(column for column in case.table.columns.values() if column.name not in case.spec.input_columns)
    return [
        Shape(),
        Shape(partial=False),
        Shape(
            pinned=(Filter(case.table.key[0], 1),),
            filtered=(Filter(text, 2, or_null=True),),
            columns=tuple(name for name in case.table.columns if name != case.spec.output)[:1],
            within=True,
            without_self=True,
            past=dialect.vectors.slightly_past,
        ),
    ]


def _settings(dialect: Dialect) -> dict[str, str | int]:
    of_searches = {**dialect.vectors.settings(100, filtered=False), **dialect.vectors.settings(100, filtered=True)}
    return {**EVERY_SESSION, "statement_timeout": "30000ms", **dialect.brief_lock, **of_searches}


# By parameter: its examples for a case. What has a Literal or a bool for its type needs none.
_EXAMPLES: Mapping[str, Callable[[Dialect, Case], Sequence[object]]] = {
    "dialect": lambda dialect, case: [dialect],
    "table": lambda dialect, case: [case.table],
    "spec": lambda dialect, case: [case.spec],
    "dimension": lambda dialect, case: [DIMENSION],
    "column": lambda dialect, case: [case.spec.fingerprint_column or case.spec.output],
    "columns": lambda dialect, case: [[_kept(case), replace(_kept(case), output="w", fingerprint=None)]],
    "schema": lambda dialect, case: [case.table.name.schema],
    "index": lambda dialect, case: [pending_index_name(case.spec)],
    "function": lambda dialect, case: ["a_function"],
    "earlier": lambda dialect, case: [0, 2],
    "bounds": lambda dialect, case: [2],
    "keys": lambda dialect, case: [2],
    "shape": _shapes,
    "prefix": lambda dialect, case: [[], case.table.key[:1]],
    "setting": lambda dialect, case: [*_settings(dialect).items(), *NO_TIMEOUT.items()],
    "setting_name": lambda dialect, case: [name for name in _settings(dialect) if name not in EVERY_SESSION],
    "search": lambda dialect, case: [sql.SQL("SELECT 1")],
}

# Statements that are sent for some columns only.
_SENT_FOR: Mapping[str, Callable[[Case], bool]] = {
    "count_edited": lambda case: case.spec.updated_at is not None,
    "has_edited": lambda case: case.spec.updated_at is not None,
    "count_drift": lambda case: case.spec.fingerprint_column is not None,
    "oldest_pending": lambda case: case.spec.updated_at is not None,
}


def build(dialect: Dialect) -> Iterator[tuple[str, str, list[Entry]]]:
    """Every statement for a dialect: its name, what it is for, and its texts, each once."""
    for name, function in sorted(_functions().items()):
        entries: dict[str, Entry] = {}
        for title, arguments in _calls(function, dialect):
            statement = function(**arguments)
            entries.setdefault(statement.text, Entry(title, statement))
        yield name, (inspect.getdoc(function) or "").splitlines()[0], list(entries.values())


def render(dialect: Dialect) -> str:
    """The ledger of a dialect, as it is kept in tests/snapshots."""
    lines = [
        f"-- Every statement that reaches a {dialect.name} server, for several kinds of vector column.",
        "-- Made by `CRDBVEC_UPDATE_SNAPSHOTS=1 python -m pytest tests/database/test_ledger.py`.",
    ]
    for name, purpose, entries in build(dialect):
        lines += ["", *textwrap.wrap(f"{name}: {purpose}", 118, initial_indent="-- ", subsequent_indent="--     ")]
        for entry in entries:
            text = f"{entry.statement.text};" if entry.statement.text else "-- (not sent to this server)"
            lines += [f"--   {entry.title}", text] if entry.title else [text]
    return "\n".join(lines) + "\n"


def _functions() -> dict[str, Callable[..., Statement]]:
    """The functions marked with `@statement`, wherever they are, by name."""
    found: dict[str, Callable[..., Statement]] = {}
    for module_info in pkgutil.walk_packages(crdbvec_pipelines.__path__, "crdbvec_pipelines."):
        if module_info.name.startswith("crdbvec_pipelines.database"):
            module = importlib.import_module(module_info.name)
            for name, value in vars(module).items():
                if name in catalogue() and hasattr(value, "__wrapped__") and value.__module__ == module.__name__:
                    assert name not in found, f"two statements are called {name}"
                    found[name] = value
    assert found.keys() == catalogue()
    return found


def _calls(function: Callable[..., Statement], dialect: Dialect) -> Iterator[tuple[str, dict[str, object]]]:
    """The arguments to build a statement with, and their title."""
    hints = get_type_hints(inspect.unwrap(function))
    names = list(inspect.signature(function).parameters)
    per_column = bool({"table", "spec"} & set(names))
    cases = [case for case in CASES if function.__name__ not in _SENT_FOR or _SENT_FOR[function.__name__](case)]
    for case in cases if per_column else cases[:1]:
        calls = list(_arguments(names, hints, dialect, case))
        # All combinations for the first kind of column; what is special about the others shows in the fullest one.
        for arguments in calls if case is cases[0] else calls[-1:]:
            told = [f"{name}={_shown(value)}" for name, value in arguments.items() if _is_told(hints[name], value)]
            yield ", ".join(([case.title] if per_column else []) + told), arguments


def _arguments(
    names: Sequence[str], hints: Mapping[str, Any], dialect: Dialect, case: Case
) -> Iterator[dict[str, object]]:
    """All combinations, but for flags, which are set all together or none."""
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
    assert name in _EXAMPLES, f"give the parameter {name} of a statement an example in tests/database/ledger.py"
    return _EXAMPLES[name](dialect, case)


def _is_told(hint: object, value: object) -> bool:
    return hint is bool or get_origin(hint) is Literal or (isinstance(value, (int, Shape)) and value != DIMENSION)


def _shown(value: object) -> str:
    if isinstance(value, Shape):
        told = [(Shape(), "plain"), (Shape(partial=False), "index of all rows")]
        return next((name for shape, name in told if value == shape), "all that can be asked")
    return str(value)
