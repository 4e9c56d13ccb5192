"""`crdbvec status`: the row counts and the index of each vector column. Changes nothing."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import click

from crdbvec_pipelines.cli.output import (
    failed_text,
    print_error,
    print_info,
    print_json,
    print_table,
    print_text,
    share_text,
)
from crdbvec_pipelines.cli.target import Selection, Target, column_names, column_options
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn, bind_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.errors import DatabaseError
from crdbvec_pipelines.database.index.text_index import TextIndex
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.database.rows.counts import column_counts
from crdbvec_pipelines.database.suspension import suspended_since, suspended_text
from crdbvec_pipelines.database.table import check_column
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.errors import EncoderUnavailable
from crdbvec_pipelines.errors import CrdbvecError
from crdbvec_pipelines.keyspace import KeyRange
from crdbvec_pipelines.refresh.input_sample import sample_column

_NAMES = ("table", "output", "model")
_COUNTS = ("rows", "embedded", "pending", "blank", "failed")
_INDEX = ("index", "index_state", "text_index", "text_index_state")
_ORDER = (
    "database",
    *_NAMES,
    "rows",
    "embedded",
    "pending",
    "failed",
    "deferred",
    "truncated",
    "unreadable",
    "sampled",
)


@click.command(epilog="Example: crdbvec status --json")
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def command(context: click.Context, selection: Selection, as_json: bool) -> None:
    """Show the row counts of each vector column.

    Prints how many rows exist, and how many are embedded, pending, blank (without an input), and failed, and the state
    of the vector index. A sample shows which share of the embedded texts the model truncates or cannot read. Changes
    nothing.
    """
    target = selection.resolve(also_second=True)
    columns: list[dict[str, Any]] = []
    errors: list[CrdbvecError] = []
    unavailable: set[str] = set()
    has_follower_reads = False
    with target.open() as databases:
        with suppress(DatabaseError):
            # Without it, each column reports the error itself.
            target = target.present(databases, with_second=True)
        for column in target.columns:
            facts: dict[str, Any] = dict.fromkeys((*_ORDER, "blank", *_INDEX, "suspended", "error"))
            facts |= {**column_names(column), "sampled": 0}
            try:
                with target.naming(column):
                    database = databases.of(column)
                    has_follower_reads |= database.dialect.vectors.follower_read_clause is not None
                    facts |= _status(database, target, column, unavailable)
            except CrdbvecError as error:
                # The other columns can be shown: their tables and models are independent.
                errors.append(error)
                facts["error"] = str(error)
            columns.append(facts)
    if len(errors) == len(columns):
        raise errors[0]
    if as_json:
        print_json(columns)
    else:
        if has_follower_reads:
            print_info("The numbers are those of a few seconds ago (follower read).")
        _print(columns)
    for facts in columns:
        if facts["error"]:
            print_error(f"{_table(facts)}.{facts['output']}: {facts['error']}")
    if errors:
        context.exit(errors[0].exit_code)


def _print(columns: list[dict[str, Any]]) -> None:
    rows = [
        [
            _table(facts),
            facts["output"],
            facts["model"],
            *("-" if facts[name] is None else f"{facts[name]:,}" for name in _COUNTS),
            facts["index_state"] or "-",
        ]
        for facts in columns
    ]
    print_table([*_NAMES, *_COUNTS, "index"], rows)
    for facts in columns:
        for note in _notes(facts):
            print_text(note)


def _table(facts: dict[str, Any]) -> str:
    return f"{facts['database']}/{facts['table']}" if facts["database"] else str(facts["table"])


def _notes(facts: dict[str, Any]) -> Iterator[str]:
    """Yield what the table does not show: faults of rows that are embedded or not pending, and the text index."""
    name = f"{_table(facts)}.{facts['output']}"
    if facts["failed"]:
        yield f"{name}: {failed_text(facts['failed'], facts['deferred'])}."
    if facts["suspended"]:
        yield f"{name}: {facts['suspended']}. Resume it with `crdbvec resume`."
    for fault in ("truncated", "unreadable"):
        if facts[fault]:
            yield f"{name}: {share_text(facts[fault])} of the texts are {fault} ({facts['sampled']:,} sampled)."
    if facts["text_index_state"] not in (None, "none"):
        remedy = "" if facts["text_index_state"] == "built" else "; run `crdbvec index build`"
        yield f"{name}: text index {facts['text_index_state']}{remedy}."


def _status(database: Database, target: Target, column: VectorColumn, unavailable: set[str]) -> dict[str, Any]:
    encoder = target.registry.encoder_of(column)
    bound = bind_column(database.with_quality_of_service(column.quality_of_service), column, encoder)
    check_column(bound.table, column, _dimension(bound, encoder, unavailable))
    counts = column_counts(bound, "follower_read")
    sample = sample_column(bound, encoder, [KeyRange()]) if counts.embedded else None
    index, state = _index(bound)
    text_index = TextIndex(bound)
    return {
        "rows": counts.rows,
        "embedded": counts.embedded,
        "pending": counts.pending,
        "failed": counts.failed,
        "deferred": counts.deferred,
        "truncated": sample.truncated if sample else None,
        "unreadable": sample.unreadable if sample else None,
        "sampled": sample.rows if sample else 0,
        "blank": counts.blank,
        "index": index,
        "index_state": state,
        "text_index": text_index.name if column.text_index else None,
        "text_index_state": text_index.state,
        "suspended": None if (since := suspended_since(bound)) is None else suspended_text(since),
    }


def _dimension(column: BoundColumn, encoder: Encoder, unavailable: set[str]) -> int:
    """Return the dimension that the vectors must have.

    It is that of the column if the model is a server that is unavailable, because rows can be counted without it.

    Args:
        column: The vector column.
        encoder: Its model.
        unavailable: The models that are known to be unavailable, to which this one is added.
    """
    output = column.table.columns.get(column.spec.output)
    if output is None:
        return 0
    if encoder.name not in unavailable:
        try:
            return encoder.dim
        except EncoderUnavailable as error:
            unavailable.add(encoder.name)
            print_info(f"{column}: the dimension of the model {encoder.name} is not checked. {error}")
    return output.modifier


def _index(column: BoundColumn) -> tuple[str | None, str]:
    """Return the name of the vector index, None if it does not exist, and its state in one or two words."""
    if not column.exists:
        return None, "none"
    index = VectorIndex(vectors_of(column))
    if index.name not in index.existing():
        return None, "none" if column.spec.index is None else "not built"
    return index.name, "differs" if index.differences() else "built"
