"""Throughput of models by name against `SentenceTransformer.encode`, for one generated model of each architecture.

The models have random weights, which take as long as trained ones. Each round runs both libraries, so that other load
on the machine affects both; the median over the rounds is reported. Ratios can be compared between machines, rates
cannot.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.bench_tables import glosses, show
from crdbvec_pipelines.encoding import ModelRegistry
from tests.support.generated_models import PICTURE_MODELS, TEXT_MODELS

_GENERATORS = {**TEXT_MODELS, **PICTURE_MODELS}


def main() -> None:
    """Print a table with one row per architecture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500, help="glosses to encode")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--models", nargs="+", choices=[*_GENERATORS], default=[*_GENERATORS])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="the device of both libraries")
    options = parser.parse_args()
    texts = glosses(options.rows)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            model = Path(folder) / name
            _GENERATORS[name](model, options.width, options.layers)
            rows.append((name, *_compare(model, texts, options.rounds, options.device)))
    show(
        f"{len(texts)} glosses, {options.width} wide, {options.layers} layers, on {options.device}",
        ("architecture", "engine", "rows/s", "sentence-transformers", "ratio", "cosine"),
        rows,
    )


def _compare(model: Path, texts: list[str], rounds: int, device: str) -> tuple[str, str, str, str, str]:
    """Return the engine, the rates of both libraries, their ratio and the smallest cosine similarity."""
    from sentence_transformers import SentenceTransformer

    settings = {"device": device, **({} if (model / "modules.json").exists() else {"pooling": "mean"})}
    encoder = ModelRegistry(settings={str(model): settings}).load(str(model))
    original = SentenceTransformer(str(model), device=device, local_files_only=True)
    inputs = texts if original.modalities == ["text"] else [{"text": text} for text in texts]
    batch = list(enumerate(texts))
    found = encoder.encode(batch[:64]).vectors
    expected = np.asarray(original.encode_document(inputs[:64], show_progress_bar=False))
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = float(((found * expected).sum(axis=1) / lengths).min())
    mine, theirs = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        encoder.encode(batch)
        middle = time.perf_counter()
        original.encode_document(inputs, show_progress_bar=False)
        mine.append(middle - started)
        theirs.append(time.perf_counter() - middle)
    own, other = (len(texts) / statistics.median(seconds) for seconds in (mine, theirs))
    engine = encoder.description.partition("Engine")[2]
    kind = (
        "numpy" if "numpy" in engine and "OpenVINO" not in engine else "OpenVINO" if "converted" in engine else "torch"
    )
    return kind, f"{own:,.0f}", f"{other:,.0f}", f"{own / other:.2f}", f"{cosine:.5f}"


if __name__ == "__main__":
    main()
