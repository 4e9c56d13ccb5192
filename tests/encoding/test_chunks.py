"""Dividing texts into chunks, their encoder, and the settings of an entry that take precedence over the model's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdbvec_pipelines.config import Splitter, vector_column
from crdbvec_pipelines.encoding.chunks.chunk_encoder import split_prefix
from crdbvec_pipelines.encoding.chunks.splitting import ChunkSize, approximate_tokens, divide
from crdbvec_pipelines.encoding.encoder import Encoder
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.registry import ModelRegistry
from tests.support.chunks import chunked
from tests.support.models import registry
from tests.support.tables import column

NAME = "hf_st_all_minilm_l6"


def parts(text: str, size: int = 12, overlap: int = 0, splitter: Splitter = "text") -> list[str]:
    (tokens,) = approximate_tokens([text])
    return [text[start:end] for start, end in divide(text, tokens, ChunkSize(size, overlap), splitter)]


@given(
    st.text(st.sampled_from("ab .\n#`?中é"), max_size=300),
    st.integers(2, 20),
    st.sampled_from(["text", "markdown", "code"]),
)
def test_chunks_contain_every_character_and_are_not_too_long(text: str, size: int, splitter: Splitter) -> None:
    (tokens,) = approximate_tokens([text])
    spans = divide(text, tokens, ChunkSize(size, (size - 1) // 2), splitter)
    covered = {place for start, end in spans for place in range(start, end)}
    assert [place for place, character in enumerate(text) if not character.isspace() and place not in covered] == []
    assert [start for start, _ in spans] == sorted({start for start, _ in spans})
    for start, end in spans:
        assert sum(start <= first and last <= end for first, last in tokens) <= size


def test_a_chunk_ends_at_the_best_boundary_of_its_second_half() -> None:
    assert parts("one two. three\n\nfour five six seven", size=8) == ["one two. three", "four five six seven"]
    assert parts("one two three four.\n\nfive six seven eight nine", size=8)[0] == "one two three four."
    assert parts("a b c d e\n# Title\nf g h i j k", size=10, splitter="markdown")[0] == "a b c d e"
    assert parts("def a():\n    x\n\n    y\n\ndef b():\n    z\n    w", size=10, splitter="code")[0].endswith("y")


def test_a_chunk_repeats_whole_words_of_the_one_before() -> None:
    first, second, *_ = parts("aa bb cc dd ee ff gg hh ii jj kk ll", size=6, overlap=2)
    assert first.split()[-2:] == second.split()[:2]


def test_a_text_of_one_chunk_is_encoded_as_it_is() -> None:
    encoded = registry().encoder_of(chunked()).encode([(1, " short "), (2, "another")])
    assert encoded.chunks is not None
    assert [chunks.spans.tolist() for chunks in encoded.chunks] == [[[0, 7]], [[0, 7]]]


def test_the_prefix_is_separated_again() -> None:
    chunks = chunked(chunks={"prefix": "{passage}: "}).chunking
    assert chunks is not None
    assert split_prefix("4:a:b: the text", chunks) == ("a:b:", " the text")


def test_the_entry_takes_precedence_over_the_settings_of_the_model() -> None:
    models = ModelRegistry(settings={NAME: {"long_inputs": "mean"}})
    ids = {
        name: models.encoder_of(vector_column(table="t", input="a", output="v", model=NAME, long_inputs=name)).model_id
        for name in ("truncate", "mean", "chunks")
    }
    plain = ModelRegistry().load(NAME).model_id
    assert ids["truncate"] == plain
    assert ids["mean"] == models.load(NAME).model_id != plain
    assert ids["chunks"] == f"{plain}-chunks1-48-12-text"
    assert models.encoder_of(column(model=NAME)) is models.encoder_of(column(model=NAME))
    assert type(models.encoder_of(column(model=NAME))) is Encoder


def test_a_chunk_that_does_not_fit_into_the_window_is_an_error() -> None:
    spec = vector_column(table="t", input="a", output="v", model=NAME, long_inputs="chunks", chunks={"size": 400})
    with pytest.raises(ModelError, match=r"Set chunks\.size to 254 or less"):
        ModelRegistry().encoder_of(spec).encode([(1, "a text")])
