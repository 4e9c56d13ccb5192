"""Vectors that are distributed as embeddings are: generated ones, and those of the built-in model for glosses."""

import csv
import gzip
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding import ModelRegistry
from tests.support.processes import ROOT

Vectors = NDArray[np.float32]

_MODEL = "hf_st_all_minilm_l6"


def mixture(count: int, dim: int, seed: int = 0, clusters: int = 150, intrinsic: int = 40) -> Vectors:
    """Return vectors of length one in clusters, each of which has few dimensions of its own, as texts of one topic."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(clusters, dim)).astype(np.float32)
    bases = random.normal(size=(clusters, intrinsic, dim)).astype(np.float32) / np.float32(np.sqrt(intrinsic))
    vectors = np.empty((count, dim), np.float32)
    for number, cluster in enumerate(random.integers(0, clusters, count).tolist()):
        vectors[number] = centers[cluster] + random.normal(size=intrinsic).astype(np.float32) @ bases[cluster]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


@dataclass(frozen=True)
class Glosses:
    """The vectors of the glosses of the demo, and of the words that they define."""

    glosses: Vectors
    words: Vectors


def encode_glosses(count: int, words: int) -> Glosses:
    """Return the vectors of some glosses, and of the words of the first of them."""
    with gzip.open(ROOT / "examples" / "wordnet" / "glosses.tsv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:count]
    texts = [row["gloss"] for row in rows] + [row["lemmas"] for row in rows[:words]]
    encoder = ModelRegistry().load(_MODEL)
    vectors = np.empty((len(texts), encoder.dim), np.float32)
    # Batches of texts of similar length need the least padding.
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for start in range(0, len(order), 128):
        part = order[start : start + 128]
        vectors[part] = encoder.encode([(number, texts[number]) for number in part]).vectors
    return Glosses(vectors[: len(rows)], vectors[len(rows) :])
