"""The stub models of tests/wrappers, loaded like the models of a user."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    """Return a registry of the stubs and the built-in models."""
    return ModelRegistry([WRAPPERS])


def stub(name: str = "stub_counting") -> Encoder:
    """Return the encoder of a stub."""
    return registry().load(name)


def stub_vector(value: object) -> NDArray[np.float32]:
    """Return the vector that every stub computes for an input."""
    vector: NDArray[np.float32] = _hash_stub().encode([(0, value)]).vectors[0]
    return vector


@cache
def _hash_stub() -> Encoder:
    return stub("stub_hash")


@dataclass(frozen=True)
class CallLog:
    """The file to which the counting stubs write, in this process or in others."""

    path: Path

    def batches(self) -> list[list[str]]:
        """Return the inputs of each call, as text."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def inputs(self) -> Sequence[str]:
        """Return all encoded inputs."""
        return [text for batch in self.batches() for text in batch]

    def processes(self) -> set[int]:
        """Return the ids of the processes in which the stub was called."""
        return {int(line) for line in Path(f"{self.path}.processes").read_text(encoding="utf-8").split()}

    def clear(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no call of the slow stub end, so that a run does not end when it is canceled."""
        file = Path(f"{self.path}.held")
        file.touch()
        try:
            yield
        finally:
            file.unlink()
