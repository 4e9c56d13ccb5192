"""The stub models of tests/wrappers, loaded as any user's own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.registry import ModelRegistry

WRAPPERS = Path(__file__).parents[1] / "wrappers"
CALLS_VARIABLE = "CRDBVEC_TEST_CALLS"
STUB_DIM = 8


def registry() -> ModelRegistry:
    """The stubs, and the built-in models."""
    return ModelRegistry([WRAPPERS])


def stub(name: str = "stub_counting") -> Encoder:
    """One stub."""
    return registry().load(name)


def stub_vector(value: object) -> NDArray[np.float32]:
    """What every stub makes of an input."""
    vector: NDArray[np.float32] = _hash_stub().encode([(0, value)]).vectors[0]
    return vector


@cache
def _hash_stub() -> Encoder:
    return stub("stub_hash")


@dataclass(frozen=True)
class CallLog:
    """The file into which the counting stubs write, also from other processes."""

    path: Path

    def batches(self) -> list[list[str]]:
        """The inputs of each call, as text."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def inputs(self) -> Sequence[str]:
        """All inputs that were encoded."""
        return [text for batch in self.batches() for text in batch]

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
