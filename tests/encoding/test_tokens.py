"""The tokenizer compared with that of transformers."""

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, Model, Unigram

from crdbvec_pipelines.encoding import ModelError
from crdbvec_pipelines.encoding.backends.tokens import TextTokenizer, unknown_token_id
from crdbvec_pipelines.encoding.backends.torch import TorchBackend
from crdbvec_pipelines.encoding.weights import Weights


@pytest.fixture(scope="module")
def tokenizer(minilm_weights: Weights) -> TextTokenizer:
    return TextTokenizer(minilm_weights.directory / "tokenizer.json", 256)


def test_token_ids_equal_those_of_transformers(
    tokenizer: TextTokenizer, minilm_weights: Weights, texts: list[str]
) -> None:
    from transformers import AutoTokenizer

    original = AutoTokenizer.from_pretrained(minilm_weights.directory)
    tokens = tokenizer.tokenize(texts)
    assert tokens.ids == original(texts, truncation=True, max_length=256)["input_ids"]
    assert tokens.lengths.tolist() == [len(ids) for ids in tokens.ids]


def test_truncated_texts_are_reported(tokenizer: TextTokenizer) -> None:
    texts = ["word " * 253, "word " * 254, "word " * 255, ""]
    tokens = tokenizer.tokenize(texts)
    assert tokens.truncated.tolist() == [False, False, True, False]
    assert tokens.lengths.tolist() == [255, 256, 256, 2]


def test_token_counts_are_untruncated(tokenizer: TextTokenizer, torch_backend: TorchBackend, texts: list[str]) -> None:
    assert tokenizer.count(texts) == torch_backend.count_tokens(texts)
    assert tokenizer.count(["word " * 10_000]) == [10_002]


def test_tokens_after_the_window_are_counted_without_special_tokens(minilm_weights: Weights) -> None:
    tokenizer = TextTokenizer(minilm_weights.directory / "tokenizer.json", 256, has_special_tokens=False)
    texts = ["word " * count for count in (3, 256, 257, 600)]
    assert tokenizer.tokenize(texts).truncated.tolist() == [False, False, True, True]
    counts = tokenizer.token_counts(texts)
    assert [(count.total, count.encoded) for count in counts] == [(3, 3), (256, 256), (257, 256), (600, 256)]
    spans = tokenizer.spans(texts)
    assert [len(each) for each in spans] == [3, 256, 257, 600]
    assert spans[3][-1] == (2_995, 2_999)


def test_padding_is_masked_to_an_even_length(tokenizer: TextTokenizer) -> None:
    ids, mask = tokenizer.pad([[101, 7, 102], [101, 102]])
    assert ids.tolist() == [[101, 7, 102, 0], [101, 102, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]


def test_configured_lowercasing_is_applied(minilm_weights: Weights, tmp_path: Path) -> None:
    shutil.copytree(minilm_weights.directory, tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["normalizer"]["lowercase"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    file = tmp_path / "tokenizer.json"
    cased = TextTokenizer(file, 256).tokenize(["ENTITY"]).ids
    assert TextTokenizer(file, 256, lowercases=True).tokenize(["ENTITY"]).ids != cased
    lower = TextTokenizer(file, 256, lowercases=True).tokenize(["ENTITY", "entity"]).ids
    assert lower[0] == lower[1]


def test_invalid_tokenizer_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
        TextTokenizer(tmp_path / "tokenizer.json", 256)


THAI = "\u0e1b\u0e23\u0e30\u0e40\u0e17\u0e28\u0e44\u0e17\u0e22"


def test_share_of_unknown_tokens_excludes_special_tokens(
    tokenizer: TextTokenizer, torch_backend: TorchBackend, texts: list[str]
) -> None:
    # An emoji and a word of more than 100 characters are unknown, too.
    examples = [THAI, f"{THAI} {THAI}", f"two words {THAI} {THAI}", "", "a city", "x" * 101, *texts]
    shares = tokenizer.tokenize(examples).unknown_shares
    assert shares[:6].tolist() == [1, 1, 0.5, 0, 0, 1]
    assert [count.unknown_share for count in tokenizer.token_counts(examples)] == pytest.approx(shares.tolist())
    assert torch_backend.tokens(examples) == tokenizer.token_counts(examples)
    by_torch = torch_backend.encode(examples[:3]).unknown_shares
    assert by_torch is not None
    assert by_torch.tolist() == shares[:3].tolist()


def test_only_the_window_is_searched_for_unknown_tokens(tokenizer: TextTokenizer) -> None:
    (count,) = tokenizer.token_counts(["word " * 300 + f"{THAI} " * 700])
    assert (count.total, count.encoded, count.unknown_share) == (1_002, 256, 0)


@pytest.mark.parametrize("model", [Unigram([("<unk>", -5.0), ("a", -1.0)], unk_id=0), BPE({"a": 0}, [])])
def test_unknown_token_of_other_kinds_of_tokenizers(model: Model) -> None:
    assert unknown_token_id(Tokenizer(model)) == (0 if isinstance(model, Unigram) else None)
