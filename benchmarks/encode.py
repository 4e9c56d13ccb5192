"""The engines against each other on the same glosses in one run: rows a second, faithfulness, share of the machine.

PyTorch in float32 is the measure of both speed and vectors. The engines take turns, round after round, so that a busy
moment of the machine hits all of them; the median round counts. The peak is what one large matrix product reaches on
all processor threads, in float32 and in bfloat16, here and now. Ratios are comparable, rates belong to the machine.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench_tables import MODEL, read_rows, show
from crdbvec_pipelines.encoding import Encoder, ModelRegistry

_GLOSSES = Path(__file__).parents[1] / "examples" / "wordnet" / "glosses.tsv.gz"
_ENGINES: dict[str, dict[str, object]] = {
    "PyTorch, float32": {"backend": "torch", "device": "cpu"},
    "OpenVINO, float32": {"backend": "openvino", "precision": "f32"},
    "OpenVINO, auto": {"backend": "openvino"},
}
# all-MiniLM-L6-v2 by its config.json.
_LAYERS, _HIDDEN, _INTERMEDIATE = 6, 384, 1536
_PEAK_SIDE = 2048


def encode(encoder: Encoder, texts: Sequence[str], batch: int) -> tuple[NDArray[np.float32], float]:
    """Return the vectors of all texts, and the seconds that took."""
    started = time.perf_counter()
    parts = [
        encoder.encode(list(enumerate(texts[start : start + batch]))).vectors for start in range(0, len(texts), batch)
    ]
    return np.concatenate(parts), time.perf_counter() - started


def operations(tokens: NDArray[np.int64]) -> float:
    """Return the multiplications and additions that texts of so many tokens cost, padding not counted."""
    weights = _LAYERS * (4 * _HIDDEN**2 + 2 * _HIDDEN * _INTERMEDIATE)
    attention = _LAYERS * 2 * _HIDDEN * tokens.astype(float)
    return float((2 * tokens * (weights + attention)).sum())


def peaks() -> dict[str, float]:
    """Return the operations a second of a large matrix product, by precision: the best of several."""
    import torch

    def seconds(product: Callable[[], object]) -> float:
        started = time.perf_counter()
        product()
        return time.perf_counter() - started

    found = {}
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        left, right = (torch.randn(_PEAK_SIDE, _PEAK_SIDE).to(kind) for _ in range(2))
        found[name] = 2 * _PEAK_SIDE**3 / min(seconds(lambda: left @ right) for _ in range(20))  # noqa: B023 (used at once)
    return found


def main() -> None:
    """Time the engines in turns and print rates, ratios, cosines and shares of the peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--glosses", type=Path, default=_GLOSSES, help="gzipped TSV with a column `gloss`")
    parser.add_argument("--batch", type=int, default=1_024, help="texts handed to the engine at once")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    texts = [row["gloss"] for row in read_rows(options.glosses)[: options.rows]]
    encoders = {name: ModelRegistry(settings={MODEL: settings}).load(MODEL) for name, settings in _ENGINES.items()}
    first = {name: encode(encoder, texts, options.batch)[0] for name, encoder in encoders.items()}
    rounds = [
        {name: len(texts) / encode(encoder, texts, options.batch)[1] for name, encoder in encoders.items()}
        for _ in range(options.rounds)
    ]
    reference, *_ = first.values()
    slowest, *_ = rounds[0]
    tokens = np.array(encoders[slowest].count_tokens(texts), dtype=np.int64)
    each = operations(tokens) / len(texts)
    machine = peaks()
    rows = []
    for name, vectors in first.items():
        rate = statistics.median(round_[name] for round_ in rounds)
        ratio = statistics.median(round_[name] / round_[slowest] for round_ in rounds)
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
        least = float(((vectors * reference).sum(axis=1) / norms).min())
        shares = [f"{rate * each / peak:.0%}" for peak in machine.values()]
        rows.append([name, f"{rate:,.0f}", f"{ratio:.2f}", f"{least:.6f}", *shares])
    title = f"{len(texts):,} glosses of {tokens.mean():.0f} tokens, {options.batch:,} at once, {options.rounds} rounds"
    show(title, ["engine", "rows/s", "ratio", "least cosine", *(f"of {name} peak" for name in machine)], rows)
    print("peak:", ", ".join(f"{name} {peak / 1e9:,.0f} GFLOP/s" for name, peak in machine.items()))


if __name__ == "__main__":
    main()
