"""`crdbvec index explain`: pictures of what the vector index of CockroachDB does with the vectors of a column."""

from dataclasses import asdict
from pathlib import Path

import click

from crdbvec_pipelines.cli.output import print_json, print_text
from crdbvec_pipelines.cli.target import Selection, column_options
from crdbvec_pipelines.config import IndexSpec
from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.database.column import open_existing_column
from crdbvec_pipelines.search.index_sample import read_sample

_QUERIES = 200


@click.command("explain", epilog="Example: crdbvec index explain -t article --directory .")
@column_options
@click.option(
    "-d",
    "--directory",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Write cells.svg, errors.svg and recall.svg into this directory.",
)
@click.option(
    "--sample",
    type=click.IntRange(2, 50_000),
    default=5_000,
    show_default=True,
    help="Number of rows to read and to simulate.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def explain(selection: Selection, folder: Path | None, sample: int, as_json: bool) -> None:
    """Show what the CockroachDB index would do with the vectors.

    An index over a sample is simulated: the partitions and the path of one search, the quantization error, and the
    recall before and after the table is doubled and half of it is deleted. Nothing is changed.
    """
    # Imported here, because matplotlib takes longer to import than the other commands of the group run.
    from crdbvec_pipelines.search.index_explanation import explain_index

    target = selection.resolve(also_second=True)
    usual = IndexSettings()
    with target.open() as databases:
        column = target.present(databases).column
        spec = column.index or IndexSpec()
        bound = open_existing_column(databases.of(column), column, target.registry.encoder_of(column))
        settings = IndexSettings(
            bound.metric,
            spec.min_partition_size or min(usual.min_partition_size, (spec.max_partition_size or 128) // 4),
            max(
                spec.max_partition_size or usual.max_partition_size,
                4 * (spec.min_partition_size or 1),
            ),
            spec.build_beam_size or usual.build_beam_size,
        )
        with read_sample(bound, sample) as read:
            explained = explain_index(read.vectors, read.with_queries(None, _QUERIES, 0).queries, settings)
    files = {} if folder is None else {name: folder / f"{name}.svg" for name in explained.pictures}
    for name, file in files.items():
        file.write_bytes(explained.pictures[name])
    if as_json:
        values = asdict(explained)
        values.pop("pictures")
        print_json({**values, "files": {name: str(file) for name, file in files.items()}})
        return
    print_text(
        f"{column}: {explained.rows:,} rows in {explained.leaves:,} leaves on {explained.levels} levels; splits moved "
        f"{explained.moved:,} entries to or from other partitions"
    )
    print_text(
        f"  {explained.errors_within_bound:.1%} of the estimated distances are within their error bound, 99% within "
        f"{explained.errors_99:.2f} bounds"
    )
    curves = {
        "recall at 10 by beam size": explained.recall,
        "with half of the rows": explained.recall_before_doubling,
        "after half are deleted": explained.recall_after_deleting,
        "the same, rebuilt": explained.recall_rebuilt,
    }
    for label, curve in curves.items():
        print_text(f"  {label}: " + ", ".join(f"{beam}: {recall:.3f}" for beam, recall in curve.items()))
    for file in files.values():
        print_text(f"  {file}")
