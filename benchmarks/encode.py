"""Comparison of the backends on the same glosses: rows per second, cosine similarity, share of the peak performance.

PyTorch in float32 is the baseline for speed and for vectors. Each round runs all backends, so that other load on the
machine affects all of them; the median over the rounds is reported. The peak is the performance of one large matrix
product on all processor threads, in float32 and in bfloat16, measured in the same run. Ratios can be compared between
machines, rates cannot.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench_tables import MODEL, read_rows, show
from crdbvec_pipelines.encoding import Encoder, ModelRegistry

_GLOSSES = Path(__file__).parents[1] / "examples" / "wordnet" / "glosses.tsv.gz"
_BACKENDS: dict[str, dict[str, object]] = {
    "PyTorch, float32": {"backend": "torch", "device": "cpu"},
    "OpenVINO, float32": {"backend": "openvino", "precision": "f32"},
    "OpenVINO, auto": {"backend": "openvino"},
}
# The values in config.json of all-MiniLM-L6-v2.
_LAYERS, _HIDDEN, _INTERMEDIATE = 6, 384, 1536
# Rows of the square matrices whose product measures the peak. The largest size reaches it. A smaller one is used if its
# product is already slow: on a processor without bfloat16 instructions, one of 2,048 rows takes more than a minute.
_PEAK_ROWS = (256, 512, 1024, 2048)
_SLOW_PRODUCT_SECONDS = 0.2
# As /proc/cpuinfo names them.
_INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "avx512f": "AVX-512", "avx2": "AVX2"}


def encode(encoder: Encoder, texts: Sequence[str], batch: int) -> tuple[NDArray[np.float32], float]:
    """Return the vectors of all texts, and the time in seconds."""
    started = time.perf_counter()
    parts = [
        encoder.encode(list(enumerate(texts[start : start + batch]))).vectors for start in range(0, len(texts), batch)
    ]
    return np.concatenate(parts), time.perf_counter() - started


def operations(tokens: NDArray[np.int64]) -> float:
    """Return the multiplications and additions for texts with these numbers of tokens, without padding."""
    weights = _LAYERS * (4 * _HIDDEN**2 + 2 * _HIDDEN * _INTERMEDIATE)
    attention = _LAYERS * 2 * _HIDDEN * tokens.astype(float)
    return float((2 * tokens * (weights + attention)).sum())


def peaks() -> dict[str, float]:
    """Return the operations per second of a large matrix product by precision, the best of 20 runs."""
    import torch

    def seconds(matrix: torch.Tensor) -> float:
        started = time.perf_counter()
        torch.matmul(matrix, matrix)
        return time.perf_counter() - started

    rates = {}
    for name, precision in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        for rows in _PEAK_ROWS:
            matrix = torch.randn(rows, rows).to(precision)
            # The first product may include the start of the threads.
            if min(seconds(matrix) for _ in range(2)) > _SLOW_PRODUCT_SECONDS:
                break
        rates[name] = 2 * rows**3 / min(seconds(matrix) for _ in range(20))
    return rates


def instructions() -> str:
    """Return which matrix and vector instructions the processor has, which determine the peak; Linux only."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8").split() if cpuinfo.exists() else []
    found = [name for flag, name in _INSTRUCTIONS.items() if flag in flags]
    return ", ".join(found) or "unknown"


def main() -> None:
    """Measure all backends and print rates, ratios, cosine similarities and shares of the peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--glosses", type=Path, default=_GLOSSES, help="gzipped TSV file with a column `gloss`")
    parser.add_argument("--batch", type=int, default=1_024, help="texts per call of the backend")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    texts = [row["gloss"] for row in read_rows(options.glosses)[: options.rows]]
    encoders = {name: ModelRegistry(settings={MODEL: settings}).load(MODEL) for name, settings in _BACKENDS.items()}
    first = {name: encode(encoder, texts, options.batch)[0] for name, encoder in encoders.items()}
    rounds = [
        {name: len(texts) / encode(encoder, texts, options.batch)[1] for name, encoder in encoders.items()}
        for _ in range(options.rounds)
    ]
    reference, *_ = first.values()
    baseline, *_ = rounds[0]
    tokens = np.array(encoders[baseline].count_tokens(texts), dtype=np.int64)
    operations_per_text = operations(tokens) / len(texts)
    peak_rates = peaks()
    rows = []
    for name, vectors in first.items():
        rate = statistics.median(round_[name] for round_ in rounds)
        ratio = statistics.median(round_[name] / round_[baseline] for round_ in rounds)
        norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
        lowest_cosine = float(((vectors * reference).sum(axis=1) / norms).min())
        shares = [f"{rate * operations_per_text / peak:.0%}" for peak in peak_rates.values()]
        rows.append([name, f"{rate:,.0f}", f"{ratio:.2f}", f"{lowest_cosine:.6f}", *shares])
    title = f"{len(texts):,} glosses of {tokens.mean():.0f} tokens, {options.batch:,} per call, {options.rounds} rounds"
    show(title, ["backend", "rows/s", "ratio", "lowest cosine", *(f"of {name} peak" for name in peak_rates)], rows)
    print("instructions:", instructions())
    print("peak:", ", ".join(f"{name} {peak / 1e9:,.0f} GFLOP/s" for name, peak in peak_rates.items()))


if __name__ == "__main__":
    main()
