"""`crdbvec index build`: the vector index and the text index of a column, and of both columns of a model migration."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from crdbvec_pipelines.cli.output import print_info, print_json, print_text, progress_bar
from crdbvec_pipelines.cli.target import Selection, Target, column_options
from crdbvec_pipelines.config import VectorColumn
from crdbvec_pipelines.database.chunks.table import vectors_of
from crdbvec_pipelines.database.column import BoundColumn, open_column
from crdbvec_pipelines.database.connection import Database
from crdbvec_pipelines.database.index.statements import unsupported_options
from crdbvec_pipelines.database.index.text_index import TextIndex
from crdbvec_pipelines.database.index.vector_index import VectorIndex
from crdbvec_pipelines.search.index_build import build_text_index_when_covered, build_when_covered
from crdbvec_pipelines.search.recall import RecallCurve

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@dataclass
class _Built:
    """What was built for one column.

    Attributes:
        indexes: The name of each index, and whether it was built; not if it was up to date.
        measured: The recall of an index that took the place of another one.
    """

    indexes: dict[str, tuple[str | None, bool]] = field(default_factory=dict)
    measured: list[RecallCurve] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        name, is_built = self.indexes.get("index", (None, False))
        facts = {"index": name, "built": is_built, "replaced": bool(self.measured), "recall": _recall(self.measured)}
        if "text_index" in self.indexes:
            facts["text_index"], facts["text_index_built"] = self.indexes["text_index"]
        return facts

    def print(self) -> None:
        for curve in self.measured:
            print_text(_replacement_text(curve))
        for name, is_built in self.indexes.values():
            print_text(f"The index {name} {'has been built' if is_built else 'is up to date'}.")


@click.command("build", epilog="Example: crdbvec index build -t article --replace")
@column_options
@click.option("--replace", is_flag=True, help="Build an index in place of one that differs from the configuration.")
@click.option(
    "--min-recall",
    type=click.FloatRange(0, 1),
    help="With --replace: keep the old index if the recall of the new one is lower.",
)
@click.option("--text", "text_only", is_flag=True, help="Build the text index only.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def build(selection: Selection, replace: bool, min_recall: float | None, text_only: bool, as_json: bool) -> None:
    """Build the index if enough rows have a vector.

    The text index, if the configuration has one, is built after the vector index. During a model migration, the index
    of the second column is built, too, unless -o names one column. Writers are not blocked during the build. With
    --replace, searches use the old vector index until the new one is built; its recall is measured before it takes the
    place of the old one. If the command is interrupted, run it again.
    """
    if text_only and replace:
        raise click.UsageError("--text builds the text index only and cannot be combined with --replace.")
    if min_recall is not None and not replace:
        raise click.UsageError("--min-recall requires --replace.")
    target = selection.resolve(also_second=True)
    entry = target.column
    results: list[tuple[VectorColumn, _Built]] = []
    with target.open() as databases, progress_bar() as bar:
        target = target.present(databases, with_second=True)
        for column in target.columns:
            database = databases.of(entry)
            warning = None if text_only else unsupported_options(database.dialect, column)
            if warning:
                print_info(warning)
            task = bar.add_task(f"building the index over {column.output}", total=1.0, visible=not text_only)
            built = _build(
                open_unprepared(database, target, column),
                replace=replace,
                min_recall=min_recall,
                text_only=text_only,
                on_progress=functools.partial(_show, bar, task),
            )
            results.append((column, built))
            if not as_json:
                # Before the next one, which may fail.
                built.print()
    if as_json:
        (_, own), *others = results
        second = [{"output": column.output, **built.as_json()} for column, built in others]
        print_json({**own.as_json(), **({"second": second[0]} if second else {})})


def _build(
    column: BoundColumn,
    *,
    replace: bool,
    min_recall: float | None,
    text_only: bool,
    on_progress: Callable[[float], None],
) -> _Built:
    built = _Built()
    if not text_only:
        is_built = build_when_covered(
            column, replace=replace, on_progress=on_progress, min_recall=min_recall, on_measured=built.measured.append
        )
        built.indexes["index"] = (VectorIndex(vectors_of(column)).name, is_built)
    if text_only or column.spec.text_index is not None:
        is_built = build_text_index_when_covered(column)
        built.indexes["text_index"] = (TextIndex(column).name, is_built)
    return built


def _show(bar: "Progress", task: "TaskID", share: float) -> None:
    bar.update(task, completed=share)


def open_unprepared(database: Database, target: Target, column: VectorColumn) -> BoundColumn:
    """Return a column for work on its indexes; it need not exist yet."""
    return open_column(
        database.with_quality_of_service(column.quality_of_service), column, target.registry.encoder_of(column)
    )


def _replacement_text(curve: RecallCurve) -> str:
    recall = _recall([curve])
    if recall is None:
        return "The recall of the new index was not measured, because the server did not use it for all searches."
    return f"The recall at {curve.k} of the new index is {recall:.3f} ({curve.queries} queries)."


def _recall(measured: list[RecallCurve]) -> float | None:
    """Return the recall of the index that took the place of another one; None if the server did not use it."""
    values = [curve.measurements[0].recall for curve in measured if curve.measurements[0].used_index]
    return values[-1] if values else None
