"""The configuration of a model folder, with the keys of older and newer versions of sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import pytest

from crdbvec_pipelines.encoding.pipeline import read_pipeline
from crdbvec_pipelines.encoding.weights import Weights

OLD = "sentence_transformers.models."
NEW = "sentence_transformers.sentence_transformer.modules."


def _folder(path: Path, modules: list[str], files: dict[str, Any]) -> Path:
    entries = [{"idx": i, "path": "" if i == 0 else f"{i}_x", "type": kind} for i, kind in enumerate(modules)]
    for name, content in {"modules.json": entries, **files}.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(content))
    return path


def test_configuration_of_minilm(minilm_weights: Weights) -> None:
    pipeline = read_pipeline(minilm_weights.directory)
    assert (pipeline.modules, pipeline.pooling) == (("transformer", "pooling", "normalize"), ("mean",))
    assert (pipeline.is_normalized, pipeline.max_seq_length, pipeline.lowercases_text) == (True, 256, False)
    assert pipeline.identity == "mean-256-normalized"


@pytest.mark.parametrize(
    ("pooling", "modes"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, ("cls", "max")),
        ({"pooling_mode": "lasttoken"}, ("lasttoken",)),
        ({"pooling_mode": ["mean", "max"]}, ("mean", "max")),
        ({}, ("mean",)),
    ],
)
def test_pooling_keys_of_both_versions(tmp_path: Path, pooling: dict[str, Any], modes: tuple[str, ...]) -> None:
    folder = _folder(tmp_path, [OLD + "Transformer", OLD + "Pooling"], {"1_x/config.json": pooling})
    pipeline = read_pipeline(folder)
    assert pipeline.pooling == modes
    assert not pipeline.is_normalized
    assert pipeline.identity == "-".join(modes) + "-None"


def test_maximum_length_casing_and_prompt(tmp_path: Path) -> None:
    files = {
        "1_x/config.json": {"pooling_mode": "mean"},
        "sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": True},
        "config_sentence_transformers.json": {"default_prompt_name": "query"},
    }
    pipeline = read_pipeline(_folder(tmp_path, [NEW + "Transformer", NEW + "Pooling"], files))
    assert (pipeline.max_seq_length, pipeline.lowercases_text, pipeline.has_default_prompt) == (128, True, True)


def test_identity_contains_unknown_modules(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [OLD + "Transformer", OLD + "WordWeights", OLD + "Pooling"], {"2_x/config.json": {}})
    assert read_pipeline(folder).identity == "transformer-wordweights-pooling"
