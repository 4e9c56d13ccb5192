"""Fixtures of the encoding tests: real weights, texts of many kinds, generated wrappers."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crdbvec_pipelines.encoding.backends.torch import TorchBackend
from crdbvec_pipelines.encoding.weights import Weights
from tests.support.minilm import locate_minilm

# Of many lengths, empty, longer than 256 tokens, in scripts that the tokenizer splits differently.
_TEXTS = [
    "that which is perceived or known or inferred to have its own distinct existence",
    "a separate and self-contained entity",
    "",
    "   ",
    "New York City is the financial capital of the world!",
    "Ünïcödé, façade, naïve; ΑΒΓ; 東京 is the capital of Japan",
    "word " * 600,
    "CAPITALS And camelCase",
    "1 2 3 4 5 6 7 8 9 10",
    *(f"{'a longer text ' * count}ends here" for count in range(1, 120, 7)),
]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return _TEXTS


@pytest.fixture(scope="session")
def minilm_weights() -> Weights:
    return locate_minilm()


@pytest.fixture(scope="session")
def reference(minilm_weights: Weights, texts: list[str]) -> NDArray[np.float32]:
    """The vectors that sentence-transformers computes for the texts, in float32."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm_weights.directory), device="cpu")
    return np.asarray(model.encode(texts, show_progress_bar=False))


@pytest.fixture(scope="session")
def torch_backend(minilm_weights: Weights) -> TorchBackend:
    return TorchBackend(minilm_weights, "cpu")


@pytest.fixture
def write_wrapper(tmp_path: Path) -> Callable[..., Path]:
    """Write `<name>.py` with the five required functions and the code of the test; return its folder."""

    def write(name: str, extra: str = "", required: bool = True) -> Path:
        directory = tmp_path / "wrappers"
        directory.mkdir(exist_ok=True)
        body = textwrap.dedent(_FIVE_FUNCTIONS) if required else ""
        (directory / f"{name}.py").write_text(body + textwrap.dedent(extra), encoding="utf-8")
        return directory

    return write


@pytest.fixture
def run_python() -> Callable[..., str]:
    """Run Python source in a separate process and return its output."""

    def run(source: str, *arguments: str) -> str:
        command = [sys.executable, "-c", textwrap.dedent(source), *arguments]
        root = Path(__file__).parents[2]
        completed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
        assert completed.returncode == 0, completed.stderr
        return completed.stdout.strip()

    return run


_FIVE_FUNCTIONS = '''
    """Length and number of vowels of a text."""

    def embedding_label():
        return "Length and vowels"

    def embedding_description():
        return "Counts characters and vowels."

    def embedding_dim():
        return 2

    def embedding_encode(input_data, verbose=False):
        return [float(len(input_data)), float(sum(letter in "aeiou" for letter in input_data))]

    def embedding_encode_batch(batch_index, batch, verbose=False):
        return [(key, embedding_encode(value)) for key, value in batch]
'''
