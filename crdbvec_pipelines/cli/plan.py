"""`crdbvec plan`: an estimate of work and cost. Changes nothing."""

from dataclasses import asdict

import click

from crdbvec_pipelines.cli.output import bytes_text, cost_text, print_json, print_text, seconds_text, share_text
from crdbvec_pipelines.cli.target import Selection, column_names, column_options
from crdbvec_pipelines.estimate import Estimate, estimate_refresh


@click.command(epilog="Example: crdbvec plan -t article -o body_vector")
@column_options
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(
    selection: Selection,
    as_json: bool,
) -> None:
    """Estimate what embedding the pending rows would do and cost.

    Prints counts by reason, tokens, time, storage and the statements that would be executed. Changes nothing.
    """
    target = selection.resolve(also_second=True)
    with target.open() as databases:
        target = target.present(databases, with_second=True)
        estimates = []
        for column in target.columns:
            with target.naming(column):
                working = databases.of(column).with_quality_of_service(column.quality_of_service)
                estimates.append((column, estimate_refresh(working, column, target.registry.encoder_of(column))))
    if as_json:
        print_json(
            [
                {
                    **column_names(column),
                    "pending": estimate.reasons.pending,
                    "duplicates": estimate.reasons.duplicates,
                    **asdict(estimate.reasons),
                    **{key: value for key, value in asdict(estimate).items() if key != "reasons"},
                }
                for column, estimate in estimates
            ]
        )
        return
    for column, estimate in estimates:
        print_text(f"{column} by {column.model}")
        print_text("".join(f"  {line}\n" for line in _lines(estimate)))


def _lines(estimate: Estimate) -> list[str]:
    reasons = estimate.reasons
    deferred = f", {reasons.deferred:,} deferred after a failure" if reasons.deferred else ""
    lines = [
        f"{reasons.rows:,} rows: {reasons.embedded:,} embedded, {reasons.pending:,} pending, {reasons.blank:,} blank"
        + deferred,
        f"pending: {reasons.never_embedded:,} unembedded, {reasons.edited:,} edited, "
        f"{reasons.other_model:,} from another model, {reasons.unknown_origin:,} of unknown origin; "
        f"{reasons.duplicates:,} duplicate inputs",
    ]
    if estimate.sampled:
        duration = "time unknown, because the model encoded no row of the sample"
        if estimate.rows_per_second and estimate.seconds is not None:
            duration = f"{seconds_text(estimate.seconds)} at {estimate.rows_per_second:,.0f} rows/s"
        lines.append(f"{_tokens(estimate)}, {duration} (measured on {estimate.sampled} rows)")
        if estimate.cost is not None:
            lines.append(f"cost: about {cost_text(estimate.cost)} by price_per_million_tokens")
        lines += _limits(estimate)
    stored = "the column"
    if estimate.chunks_per_row is not None:
        stored = f"the chunk table ({estimate.chunks_per_row:.1f} chunks per row)"
    lines.append(
        f"storage: {bytes_text(estimate.column_bytes)} for {stored}, {bytes_text(estimate.index_bytes)} for an index"
    )
    return [*lines, "statements:", *(f"  {line}" for text in estimate.statements for line in f"{text};".splitlines())]


def _tokens(estimate: Estimate) -> str:
    if estimate.tokens is None:
        return "token count unknown for this model"
    if estimate.tokens_encoded is None or estimate.tokens_encoded >= estimate.tokens:
        return f"about {estimate.tokens:,} tokens"
    return f"about {estimate.tokens:,} tokens, of which the model encodes {estimate.tokens_encoded:,}"


def _limits(estimate: Estimate) -> list[str]:
    """Return the lines about what the model does not read; none if it reads everything or counts no tokens."""
    lines = []
    if estimate.truncated:
        lines.append(
            f"{share_text(estimate.truncated)} of the texts are truncated, because they are longer than the model's "
            "maximum input length"
        )
    if estimate.unknown_tokens:
        lines.append(
            f"about {share_text(estimate.unknown_tokens)} of the encoded tokens are unknown to the model; "
            f"{share_text(estimate.unreadable or 0.0)} of the texts are unreadable"
        )
    return lines
