"""`crdbvec index predict`: the vector index of CockroachDB before it is built."""

from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from crdbvec_pipelines.cli.output import bytes_text, print_json, print_table, print_text, progress_bar
from crdbvec_pipelines.cli.target import Selection, column_options
from crdbvec_pipelines.config import IndexSpec
from crdbvec_pipelines.content import has_content
from crdbvec_pipelines.cspann.metrics import Vectors
from crdbvec_pipelines.cspann.prediction import DEFAULT_BEAM_SIZES, DEFAULT_PARTITION_SIZES
from crdbvec_pipelines.database.column import open_existing_column
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.search.index_prediction import (
    DEFAULT_QUERIES,
    PredictedIndex,
    PredictionRequest,
    compares_build_beams,
    partition_sizes,
    predict_index,
)
from crdbvec_pipelines.search.index_sample import DEFAULT_SAMPLE_ROWS


@click.command("predict", epilog="Example: crdbvec index predict -t article --rows 1000000")
@column_options
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(1),
    default=DEFAULT_SAMPLE_ROWS,
    show_default=True,
    help="Rows to simulate.",
)
@click.option("--all", "read_all", is_flag=True, help="Read all rows, into a temporary file.")
@click.option(
    "-q",
    "--queries",
    metavar="N",
    type=click.IntRange(1),
    default=DEFAULT_QUERIES,
    show_default=True,
    help="Number of queries, which are points between rows.",
)
@click.option(
    "--queries-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file of texts, one per line, as queries.",
)
@click.option(
    "-k",
    "k",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=10,
    show_default=True,
    help="Nearest rows wanted.",
)
@click.option(
    "--beam-size",
    "beam_sizes",
    metavar="N",
    type=click.IntRange(1, 2_048),
    multiple=True,
    help=f"A search effort to simulate; repeat it for several.  [default: {', '.join(map(str, DEFAULT_BEAM_SIZES))}]",
)
@click.option(
    "--partition-size",
    "sizes",
    metavar="N",
    type=click.IntRange(4, 4_096),
    multiple=True,
    help="A max_partition_size to simulate; repeat it for several.  "
    f"[default: {', '.join(map(str, DEFAULT_PARTITION_SIZES))} and the configured one]",
)
@click.option(
    "--build-beam-size",
    metavar="N",
    type=click.IntRange(1, 512),
    help="The search effort of inserts.  [default: the configured one and twice that]",
)
@click.option(
    "--rows",
    metavar="N",
    type=click.IntRange(1),
    multiple=True,
    help="A number of rows to which the table grows; repeat it.",
)
@click.option(
    "--recall", type=click.FloatRange(0, 1, min_open=True), help="The target recall.  [default: index.wanted_recall]"
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(0), default=0, show_default=True, help="The seed of random choices."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def predict(
    selection: Selection,
    sample: int,
    read_all: bool,
    queries: int,
    queries_file: Path | None,
    k: int,
    beam_sizes: tuple[int, ...],
    sizes: tuple[int, ...],
    build_beam_size: int | None,
    rows: tuple[int, ...],
    recall: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Estimate size, recall and work of the CockroachDB index.

    The index is simulated on the vectors of the table, also if they are in PostgreSQL. Nothing is changed.
    """
    target = selection.resolve()
    column = target.column
    encoder = target.registry.encoder_of(column)
    request = PredictionRequest(
        None if read_all else sample,
        None if queries_file is None else _read_queries(queries_file, encoder),
        queries,
        k,
        tuple(sorted(set(beam_sizes))),
        sizes,
        build_beam_size,
        tuple(sorted(set(rows))),
        recall,
        seed,
    )
    with target.open() as databases, progress_bar() as bar:
        database = databases.of(column)
        bound = open_existing_column(database.with_quality_of_service(column.quality_of_service), column, encoder)
        simulated = len(partition_sizes(column.index or IndexSpec(), request))
        reading = bar.add_task("reading vectors", total=None)
        indexing = bar.add_task("simulating indexes", total=None)
        read = 0

        def on_read(count: int) -> None:
            nonlocal read
            read += count
            bar.advance(reading, count)

        def on_indexed(count: int) -> None:
            bar.update(reading, total=read)
            times = simulated + compares_build_beams(request, read)
            bar.update(indexing, total=read * times, advance=count)

        predicted = predict_index(bound, request, on_read, on_indexed)
    if as_json:
        print_json(asdict(predicted))
        return
    _print(str(column), predicted)


def _read_queries(file: Path, encoder: Encoder) -> Vectors:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The file {file} cannot be read as UTF-8 text: {type(error).__name__}.") from None
    texts = [line for line in lines if has_content(line)]
    if not texts:
        raise ConfigurationError(f"The file {file} contains no text to search for. Write one text per line.")
    return np.stack([encoder.encode_query(text) for text in texts])


def _print(column: str, predicted: PredictedIndex) -> None:
    simulated = predicted.sampled_rows
    print_text(
        f"{column}: {predicted.rows:,} vectors of {predicted.dim} dimensions, {predicted.metric}; the index of "
        f"CockroachDB simulated on {simulated:,} of them, {predicted.queries:,} queries"
    )
    if predicted.prefix_values is not None:
        print_text(f"prefix {', '.join(predicted.prefix)}: {predicted.prefix_values:,} values, one tree for each")
    _print_sizes(predicted)
    _print_searches(predicted)
    if any(size.table.is_extrapolated for size in predicted.sizes):
        print_text("Recall and work for all rows are extrapolated from the simulated ones.")
    if any(size.grown for size in predicted.sizes):
        _print_growth(predicted)
    chosen = predicted.recommendation
    state = "reaches" if chosen.reaches_target else "does not reach"
    print_text(
        f"Recommended: min_partition_size {chosen.min_partition_size}, max_partition_size {chosen.max_partition_size}, "
        f"build_beam_size {chosen.build_beam_size}, effort {chosen.beam_size}, which {state} the target recall of "
        f"{predicted.target_recall:g}."
    )
    for reason in chosen.reasons:
        print_text(f"  {reason}")


def _print_sizes(predicted: PredictedIndex) -> None:
    has_prefix = predicted.prefix_values is not None
    header = [
        "max_partition_size",
        "build beam",
        "levels",
        "partitions",
        "dead",
        "entries each",
        "live bytes",
        "of the vectors",
    ]
    rows = [
        [
            f"{size.max_partition_size}",
            f"{size.build_beam_size}",
            f"{size.table.levels}",
            f"{size.table.partitions:,.0f}",
            f"{size.table.dead_partitions:,.0f}",
            f"{size.table.fill:,.1f}",
            bytes_text(size.table.live_bytes),
            f"{size.table.share_of_vectors:.1%}",
            bytes_text(size.table.bytes_after_build),
            *([f"{size.unquantized_prefixes:,} ({size.unquantized_rows:,} rows)"] if has_prefix else []),
        ]
        for size in predicted.sizes
    ]
    print_text()
    print_table([*header, "after the build", *(["unquantized values"] if has_prefix else [])], rows)


def _print_searches(predicted: PredictedIndex) -> None:
    header = ["max_partition_size", "build beam", "beam size", f"recall at {predicted.k}", "worst query", "partitions"]
    rows = [
        [
            f"{size.max_partition_size}",
            f"{size.build_beam_size}",
            f"{each.beam_size}",
            f"{each.recall:.4f}",
            "" if each.worst_recall is None else f"{each.worst_recall:.2f}",
            f"{each.partitions:,.1f}",
            f"{each.leaf_entries:,.0f}",
            f"{each.full_vectors:,.1f}",
            bytes_text(each.bytes_read),
            f"{each.round_trips}",
        ]
        for size in predicted.sizes
        for each in size.table.searches
    ]
    print_text()
    print_table([*header, "leaf entries", "full vectors", "bytes read", "round trips"], rows)


def _print_growth(predicted: PredictedIndex) -> None:
    chosen = predicted.recommendation
    header = ["rows", "levels", "partitions", "live bytes", f"recall at {predicted.k}", "leaf entries", "bytes read"]
    size = next(
        size
        for size in predicted.sizes
        if (size.max_partition_size, size.build_beam_size) == (chosen.max_partition_size, chosen.build_beam_size)
    )
    rows = []
    for index in (size.table, *size.grown):
        search = next(each for each in index.searches if each.beam_size == chosen.beam_size)
        rows.append(
            [
                f"{index.rows:,}",
                f"{index.levels}",
                f"{index.partitions:,.0f}",
                bytes_text(index.live_bytes),
                f"{search.recall:.4f}",
                f"{search.leaf_entries:,.0f}",
                bytes_text(search.bytes_read),
            ]
        )
    print_text()
    print_text(f"growth with max_partition_size {chosen.max_partition_size}:")
    print_table(header, rows)
