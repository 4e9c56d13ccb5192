"""Models with half of the bits of each weight, compared with float32. On a processor, because a GPU is rarely there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from crdbvec_pipelines.encoding.backends.reduced_precision import load_reduced
from crdbvec_pipelines.encoding.backends.sentence_model import encode_texts, load_sentence_transformer
from crdbvec_pipelines.encoding.model_folder import folder_weights
from tests.support.generated_models import PICTURE_MODELS, TEXT_MODELS, TEXTS


@pytest.mark.parametrize(
    ("name", "expected"),
    [("bert", torch.float16), ("qwen3", torch.float16), ("clip", torch.float16), ("t5", torch.float32)],
)
def test_weights_are_halved_only_if_the_vectors_stay_right(name: str, expected: torch.dtype, tmp_path: Path) -> None:
    folder = tmp_path / name
    # Wide enough for the rounding of T5 to matter.
    {**TEXT_MODELS, **PICTURE_MODELS}[name](folder, 384, 6)
    model = load_reduced(folder_weights(folder), "cpu", None, "document")
    assert next(model.parameters()).dtype == expected
    original = load_sentence_transformer(folder, "cpu")
    texts = [text for text in TEXTS if text]
    found, right = (np.asarray(encode_texts(each, texts, "", "document"), np.float64) for each in (model, original))
    cosines = (found * right).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(right, axis=1)
    assert cosines.min() >= 0.9995
