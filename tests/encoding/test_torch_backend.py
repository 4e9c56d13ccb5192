"""The PyTorch backend compared with sentence-transformers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crdbvec_pipelines.encoding import ModelError
from crdbvec_pipelines.encoding.backends.torch import TorchBackend
from crdbvec_pipelines.encoding.weights import Weights


def test_vectors_equal_those_of_sentence_transformers(
    torch_backend: TorchBackend, texts: list[str], reference: NDArray[np.float32]
) -> None:
    vectors, truncated, *_ = torch_backend.encode(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, reference, atol=1e-5)
    assert truncated.tolist() == [text.count(" ") + 3 > 256 for text in texts]
    assert truncated.sum() > 1


def test_tokens_that_were_read_are_counted(torch_backend: TorchBackend, texts: list[str]) -> None:
    windows = [count.encoded or 0 for count in torch_backend.tokens(texts)]
    assert max(windows) == 256
    assert torch_backend.encode(texts).tokens == sum(windows)


def test_empty_batch(torch_backend: TorchBackend) -> None:
    assert torch_backend.encode([])[1].shape == (0,)
    assert torch_backend.count_tokens([]) == []


def test_token_counts_are_untruncated(torch_backend: TorchBackend) -> None:
    assert torch_backend.count_tokens(["", "an entity", "word " * 600]) == [2, 4, 602]


def test_several_threads_can_encode(
    torch_backend: TorchBackend, texts: list[str], reference: NDArray[np.float32]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        for position, (vectors, *_) in enumerate(pool.map(lambda text: torch_backend.encode([text]), texts)):
            np.testing.assert_allclose(vectors[0], reference[position], atol=1e-5)


def test_unloadable_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text('[{"idx": 0, "path": "", "type": "no.such.Module"}]')
    with pytest.raises(ModelError, match="PyTorch cannot load the model in"):
        TorchBackend(Weights(tmp_path, "0"), "cpu")
