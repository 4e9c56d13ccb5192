"""Rerankers by name: the scores of sentence-transformers, and folders that must not be used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.reranker import Reranker
from tests.support.generated_models import TEXTS, bert, causal_reranker, cross_encoder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rerankers") / "cross"
    cross_encoder(folder)
    return folder


@pytest.mark.parametrize("as_modules", [False, True])
@pytest.mark.parametrize("generate", [cross_encoder, causal_reranker])
def test_relevance_is_that_of_sentence_transformers(
    tmp_path: Path, generate: Callable[[Path], None], as_modules: bool
) -> None:
    from sentence_transformers import CrossEncoder

    folder = tmp_path / "model"
    generate(folder)
    original = CrossEncoder(str(folder), device="cpu", local_files_only=True)
    if as_modules:
        folder = tmp_path / "modules"
        original.save_pretrained(str(folder))
        assert (folder / "modules.json").is_file()
    expected = [float(original.predict([("the dog", text)], show_progress_bar=False)[0]) for text in TEXTS]
    found = Reranker(f"{folder}?batch=4").relevance("the dog", TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(set(expected)) == len(TEXTS)
    assert Reranker(str(folder)).relevance("the dog", []).shape == (0,)


def test_maximum_number_of_tokens_is_that_of_the_setting(model: Path) -> None:
    texts = ["the dog of the city", "the dog of the bank"]
    assert len(set(Reranker(str(model)).relevance("a cat", texts).tolist())) == 2
    # The query and the first words of the texts are the same.
    assert len(set(Reranker(f"{model}?max_tokens=6").relevance("a cat", texts).tolist())) == 1


def test_models_that_are_not_cross_encoders_are_rejected(tmp_path: Path) -> None:
    bert(tmp_path / "bert")
    with pytest.raises(ModelError, match="is not a cross-encoder: its architecture is BertModel"):
        Reranker(str(tmp_path / "bert")).relevance("a", ["b"])
    cross_encoder(tmp_path / "classes", labels=3)
    with pytest.raises(ModelError, match="returns 3 numbers for a pair of texts"):
        Reranker(str(tmp_path / "classes")).relevance("a", ["b"])


def test_missing_and_damaged_weights_are_rejected(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "incomplete"
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "classifier" not in name}, folder / "model.safetensors"
    )
    with pytest.raises(ModelError, match="incomplete: 2 parameters"):
        Reranker(str(folder)).relevance("a", ["b"])
    weights["classifier.bias"] = np.full_like(weights["classifier.bias"], np.nan)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not numbers \(NaN\)"):
        Reranker(str(folder)).relevance("a", ["b"])


def test_code_of_a_model_is_never_run(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "own", "auto_map": {"AutoModelForSequenceClassification": "code.Own"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "code.py").write_text("raise SystemExit('run')", encoding="utf-8")
    with pytest.raises(ModelError, match="needs code of its own"):
        Reranker(str(folder)).relevance("a", ["b"])


def test_unknown_settings_are_rejected(model: Path) -> None:
    with pytest.raises(ModelError, match="pooling"):
        Reranker(f"{model}?pooling=mean")
