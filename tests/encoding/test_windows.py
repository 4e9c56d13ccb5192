"""`long_inputs: mean`: windows that cover a text, the average of their vectors, and the id of the model."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from crdbvec_pipelines.encoding import ModelError
from crdbvec_pipelines.encoding.backends import EncodedTexts
from crdbvec_pipelines.encoding.backends.windows import MeanBackend, TextWindows
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.errors import InputRejected
from crdbvec_pipelines.encoding.pipeline import read_pipeline
from crdbvec_pipelines.encoding.registry import ModelRegistry
from crdbvec_pipelines.encoding.weights import Weights

NAME = "hf_st_all_minilm_l6"
FILLER = " ".join(f"The brown river number {number} flows slowly to the sea." for number in range(120))


class HashBackend:
    """A backend that records the texts and returns a vector that depends on all of a text."""

    def __init__(self, rejected: str = "") -> None:
        self.encoded: list[str] = []
        self._rejected = rejected

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        self.encoded += texts
        vectors = np.array([_vector(text) for text in texts], np.float32)
        failures = {
            position: InputRejected("no")
            for position, text in enumerate(texts)
            if self._rejected and self._rejected in text
        }
        return EncodedTexts(vectors, np.ones(len(texts), np.bool_), np.full(len(texts), 0.5, np.float32), failures, 7)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]


def _vector(text: str) -> list[float]:
    return [byte - 127.5 for byte in hashlib.sha256(text.encode()).digest()[:8]]


@pytest.fixture(scope="module")
def windows(minilm_weights: Weights) -> TextWindows:
    return TextWindows(minilm_weights.directory, read_pipeline(minilm_weights.directory))


@pytest.mark.parametrize("text", [FILLER, "word " * 1_000, "東京" * 700, "x" * 5_000, f"{'-' * 700} end"])
def test_windows_cover_a_text_overlap_and_fit_into_the_model(
    windows: TextWindows, minilm_weights: Weights, text: str
) -> None:
    from tokenizers import Tokenizer

    (found,) = windows.divide([text])
    if len(found) == 1:
        # The tokenizer takes a very long word for one unknown token.
        assert (found[0].start, found[0].end) == (0, len(text))
        return
    assert text[: found[0].start].strip() == "" == text[found[-1].end :].strip()
    assert all(second.start < first.end for first, second in pairwise(found))
    tokenizer = Tokenizer.from_file(str(minilm_weights.directory / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    assert max(len(tokenizer.encode(text[each.start : each.end])) for each in found) <= 256


def test_short_texts_are_encoded_unchanged(windows: TextWindows) -> None:
    inner = HashBackend()
    texts = ["a short text", "", " with blanks "]
    encoded = MeanBackend(inner, windows, is_normalized=False).encode(texts)
    assert inner.encoded == texts
    np.testing.assert_allclose(encoded.vectors, [_vector(text) for text in texts], rtol=1e-6)


@pytest.mark.parametrize("is_normalized", [True, False])
def test_vector_of_a_long_text_is_the_average_of_its_windows(windows: TextWindows, is_normalized: bool) -> None:
    inner = HashBackend()
    texts = ["before", FILLER, "after"]
    encoded = MeanBackend(inner, windows, is_normalized=is_normalized).encode(texts)
    (found,) = windows.divide([FILLER])
    assert len(inner.encoded) == len(found) + 2
    weights = [each.tokens for each in found]
    expected = np.average([_vector(FILLER[each.start : each.end]) for each in found], axis=0, weights=weights)
    if is_normalized:
        expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(encoded.vectors[1], expected, rtol=1e-4)
    assert not encoded.truncated.any()
    assert encoded.unknown_shares is not None
    np.testing.assert_allclose(encoded.unknown_shares, 0.5)
    assert encoded.tokens == 7


def test_a_rejected_window_rejects_its_text_only(windows: TextWindows) -> None:
    encoded = MeanBackend(HashBackend("number 119"), windows, is_normalized=True).encode(["before", FILLER, "after"])
    assert set(encoded.failures) == {1}


def test_the_end_of_a_long_text_changes_its_vector_and_the_setting_changes_the_model_id() -> None:
    texts = [(number, f"{FILLER} {end}") for number, end in enumerate(["A star explodes.", "A cake is baked."])]
    truncated, mean = (_encoder(setting) for setting in ("truncate", "mean"))
    assert truncated.encode(texts).truncated.all()
    first, second = truncated.encode(texts).vectors
    np.testing.assert_allclose(first, second, atol=1e-3)
    encoded = mean.encode(texts)
    assert not encoded.truncated.any()
    np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-5)
    assert float(encoded.vectors[0] @ encoded.vectors[1]) < 0.999
    assert mean.model_id == f"{truncated.model_id}-windows-246-216"
    counts = mean.read_tokens([FILLER])
    assert counts is not None
    assert counts[0].encoded == counts[0].total > 256


def test_model_without_a_tokenizer_file_is_rejected(
    minilm_weights: Weights, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(ModelError, match="long_inputs: truncate"):
        TextWindows(tmp_path_factory.mktemp("model"), read_pipeline(minilm_weights.directory))


def _encoder(long_inputs: str) -> Encoder:
    return ModelRegistry(settings={NAME: {"long_inputs": long_inputs}}).load(NAME)
