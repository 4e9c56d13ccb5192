"""The pictures in docs/images: what makes each of them. `make pictures` makes all but the drawn ones again.

They are files of the repository, because the Markdown files are also read on code hosts, where nothing is built. The
screenshots are made by the browser tests, and the plots here, by the code that draws them for users.
"""

import csv
import gzip
import sys
from collections.abc import Mapping

import numpy as np

from crdbvec_pipelines.cspann.settings import IndexSettings
from crdbvec_pipelines.encoding import ModelRegistry
from crdbvec_pipelines.search.index_explanation import BEAM_SIZES, Explanation, explain_index
from docsite.links import ROOT

IMAGES = ROOT / "docs" / "images"
"""The folder of the pictures."""

PLOTS: Mapping[str, str] = {
    "cspann_cells.svg": "cells",
    "cspann_errors.svg": "errors",
    "cspann_recall.svg": "recall",
}
"""The file of each plot, and its name among the pictures of `crdbvec index explain`."""

DRAWN = ("architecture.svg",)
"""The files that are edited by hand."""

# As docs/cspann.md says.
_GLOSSES = 5_000
_QUERIES = 200
_BATCH_ROWS = 128


def _explained() -> Explanation:
    """Return what an index over the first glosses of the benchmarks does, for queries between random pairs of them."""
    with gzip.open(ROOT / "benchmarks" / "data" / "glosses.tsv.gz", "rt", encoding="utf-8") as file:
        texts = [row["gloss"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][:_GLOSSES]
    encoder = ModelRegistry().load("hf_st_all_minilm_l6")
    parts = [
        encoder.encode(list(enumerate(texts[start : start + _BATCH_ROWS]))).vectors
        for start in range(0, len(texts), _BATCH_ROWS)
    ]
    vectors = np.concatenate(parts)
    pairs = np.random.default_rng(0).integers(0, len(vectors), (2, _QUERIES))
    return explain_index(vectors, (vectors[pairs[0]] + vectors[pairs[1]]) / 2, IndexSettings())


def _numbers_of_the_page(found: Explanation) -> str:
    """Return the numbers of docs/cspann.md that belong to the plots."""
    curves = {
        f"{found.rows // 2:,} rows": found.recall_before_doubling,
        f"doubled to {found.rows:,} rows": found.recall,
        "half of these deleted": found.recall_after_deleting,
        "half of these deleted, rebuilt": found.recall_rebuilt,
    }
    rows = [f"| recall at 10 with a beam of | {' | '.join(map(str, BEAM_SIZES))} |", f"|---|{'---|' * len(BEAM_SIZES)}"]
    rows += [f"| {label} | {' | '.join(f'{each:.3f}' for each in curve.values())} |" for label, curve in curves.items()]
    return (
        f"{found.leaves} leaves on {found.levels} levels; {found.errors_within_bound:.1%} within the bound, 99% within "
        f"{found.errors_99:.2f} bounds\n" + "\n".join(rows) + "\n"
    )


def main() -> None:
    """Write the plots, and print the numbers of the page that shows them."""
    found = _explained()
    for file, name in PLOTS.items():
        (IMAGES / file).write_bytes(found.pictures[name])
    sys.stdout.write(_numbers_of_the_page(found))


if __name__ == "__main__":
    main()
