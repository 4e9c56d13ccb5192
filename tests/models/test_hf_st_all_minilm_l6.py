"""The wrapper of all-MiniLM-L6-v2: properties, settings, and the meaning of its vectors."""

import sys
from pathlib import Path

import numpy as np
import pytest

from crdbvec_pipelines.encoding import Encoder, ModelError, ModelRegistry

NAME = "hf_st_all_minilm_l6"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return ModelRegistry().load(NAME)


def test_properties(encoder: Encoder) -> None:
    assert encoder.label == "Hugging Face Sentence Transformer all-MiniLM-L6-v2"
    assert "384-dimensional" in encoder.description
    assert (encoder.dim, encoder.metric) == (384, "cosine")
    assert encoder.model_id == "sentence-transformers/all-MiniLM-L6-v2@53aa51172d14-mean-256-normalized"


def test_similar_meaning_has_the_highest_similarity(encoder: Encoder) -> None:
    batch = [(1, "a large bank in Manhattan"), (2, "a fish with a long tail"), (3, "word " * 300)]
    encoded = encoder.encode(batch)
    assert encoded.truncated.sum() == 1
    np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-3)
    similarity = encoded.vectors @ encoder.encode_query("New York is a capital of finance")
    assert similarity.argmax() == 0


def test_functions_of_the_contract_return_lists(encoder: Encoder) -> None:
    module = sys.modules[f"crdbvec_models.{NAME}"]
    vector = module.embedding_encode("a fish")
    ((key, again),) = module.embedding_encode_batch(0, iter([("key", "a fish")]), verbose=True)
    assert (type(vector), type(vector[0]), len(vector), key) == (list, float, 384, "key")
    np.testing.assert_allclose(vector, again, atol=1e-6)
    assert encoder.encode([("key", "a fish")]).vectors[0].tolist() == pytest.approx(vector, abs=1e-3)


@pytest.mark.parametrize("settings", [{"device": "tpu"}, {"threads": 0}, {"weight": "/x"}])
def test_invalid_settings_are_rejected(settings: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=r"The model(?:'s| has no) setting"):
        ModelRegistry(settings={NAME: settings}).load(NAME)


def test_copy_with_another_name_is_another_model(tmp_path: Path) -> None:
    original = ModelRegistry().find(NAME).path
    assert original is not None
    (tmp_path / "copied.py").write_text(original.read_text())
    encoder = ModelRegistry([tmp_path]).load("copied")
    assert (encoder.name, encoder.dim) == ("copied", 384)
