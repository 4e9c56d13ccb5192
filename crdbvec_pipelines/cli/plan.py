"""`crdbvec plan`: what embedding would do and cost. Writes nothing."""

from dataclasses import asdict

import click

from crdbvec_pipelines.cli.output import bytes_text, print_json, seconds_text
from crdbvec_pipelines.cli.target import Selection, column_options
from crdbvec_pipelines.planning import Plan, make_plan


@click.command()
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(
    selection: Selection,
    as_json: bool,
) -> None:
    """Show what embedding the pending rows would do and cost. Writes nothing."""
    target = selection.resolve()
    with target.open() as database:
        plans = [(column, make_plan(database, column, target.registry.load(column.model))) for column in target.columns]
    if as_json:
        print_json(
            [
                {
                    "table": str(column.table),
                    "output": column.output,
                    "model": column.model,
                    "pending": plan.reasons.pending,
                    "duplicates": plan.reasons.duplicates,
                    **asdict(plan.reasons),
                    **{key: value for key, value in asdict(plan).items() if key != "reasons"},
                }
                for column, plan in plans
            ]
        )
        return
    for column, plan in plans:
        click.echo(f"{column} by {column.model}")
        click.echo("".join(f"  {line}\n" for line in _lines(plan)))


def _lines(plan: Plan) -> list[str]:
    reasons = plan.reasons
    lines = [
        f"{reasons.rows:,} rows: {reasons.embedded:,} embedded, {reasons.pending:,} pending, {reasons.blank:,} blank",
        f"pending: {reasons.never_embedded:,} never embedded, {reasons.edited:,} edited, "
        f"{reasons.other_model:,} by another model; {reasons.duplicates:,} repeat another's input",
    ]
    if plan.sampled:
        tokens = "tokens unknown for this model" if plan.tokens is None else f"about {plan.tokens:,} tokens"
        took = "time unknown, as the model encoded no row of the sample"
        if plan.rows_per_second and plan.seconds is not None:
            took = f"{seconds_text(plan.seconds)} at {plan.rows_per_second:,.0f} rows/s"
        lines.append(f"{tokens}, {took} (measured on {plan.sampled} rows)")
    lines.append(
        f"storage: {bytes_text(plan.column_bytes)} for the column, {bytes_text(plan.index_bytes)} for an index"
    )
    return [*lines, "statements:", *(f"  {line}" for text in plan.statements for line in f"{text};".splitlines())]
