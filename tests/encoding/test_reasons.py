"""The reasons of failed rows: a wrapper states one, libraries imply one, and nothing else is stored."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from crdbvec_pipelines.encoding import (
    Encoder,
    EncoderUnavailable,
    InputRejected,
    InputTooLong,
    ModelRegistry,
    Reason,
    RowsRejected,
)
from crdbvec_pipelines.encoding.errors import EncodingError
from crdbvec_pipelines.encoding.reasons import reason_in

SECRET = "the secret input"


@pytest.fixture
def encoder(write_wrapper: Callable[..., Path]) -> Callable[[str], Encoder]:
    def make(extra: str) -> Encoder:
        return ModelRegistry([write_wrapper("tiny", extra)]).load("tiny")

    return make


def rejection(encoder: Encoder, value: object = SECRET) -> InputRejected:
    with pytest.raises(InputRejected) as caught:
        encoder.encode([(1, value)])
    return caught.value


def test_values_never_change() -> None:
    """They are stored with failed rows."""
    assert [reason.value for reason in Reason] == [
        "damaged",
        "empty",
        "invalid_text",
        "not_allowed",
        "not_found",
        "rejected",
        "too_large",
        "too_long",
        "too_many_pixels",
        "unreachable",
        "unsupported_format",
        "unusable_vector",
        "wrong_type",
    ]


@pytest.mark.parametrize("reason", list(Reason))
def test_stored_text_is_read_back(reason: Reason) -> None:
    error = InputRejected(f"cannot read {SECRET}", reason=reason, detail="page 3")
    assert reason_in(error.stored_text) is reason
    assert error.stored_text.endswith(" (page 3).")
    assert SECRET not in error.stored_text
    # As a process of the pool returns it.
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.reason, copy.detail, str(copy)) == (reason, "page 3", str(error))


@pytest.mark.parametrize("text", ["", "The database rejected the row with SQLSTATE 23514.", "a: b", "damaged"])
def test_text_without_a_reason(text: str) -> None:
    assert reason_in(text) is None


def test_message_is_the_sentence_of_the_reason_by_default() -> None:
    assert str(InputRejected(reason="damaged")) == "damaged: The input is damaged or incomplete."
    assert InputTooLong("x").reason is Reason.TOO_LONG
    assert EncodingError("x").reason is Reason.UNUSABLE_VECTOR
    with pytest.raises(ValueError, match="broken"):
        InputRejected(reason="broken")


def test_detail_is_one_short_line() -> None:
    text = InputRejected(reason="damaged", detail="a\nb\x00" + "c" * 1_000).stored_text
    assert text.startswith("damaged: The input is damaged or incomplete (a b ccc")
    assert len(text) < 200


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        ("InputRejected(value, reason='unsupported_format')", Reason.UNSUPPORTED_FORMAT),
        ("InputRejected(value)", Reason.REJECTED),
        ("InputTooLong(value)", Reason.TOO_LONG),
        ("UnicodeDecodeError('utf-8', value.encode(), 0, 1, 'invalid')", Reason.INVALID_TEXT),
        ("ValueError(value)", Reason.REJECTED),
    ],
)
def test_wrapper_states_a_reason(encoder: Callable[..., Encoder], raised: str, reason: Reason) -> None:
    error = rejection(
        encoder(
            f"""
            from crdbvec_pipelines.encoding import InputRejected, InputTooLong
            def embedding_encode_batch(batch_index, batch, verbose=False):
                for key, value in batch: raise {raised}
            """
        )
    )
    assert error.reason is reason
    assert SECRET not in error.stored_text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("b'no picture'", Reason.UNSUPPORTED_FORMAT),
        ("PNG[:-30]", Reason.DAMAGED),
    ],
)
def test_error_of_pillow_is_not_an_unavailable_model(
    encoder: Callable[..., Encoder], data: str, reason: Reason
) -> None:
    """Pillow raises OSError for a picture that it cannot decode, and so does a wrapper that does not catch it."""
    error = rejection(
        encoder(
            f"""
            import io
            from PIL import Image
            file = io.BytesIO()
            Image.effect_noise((64, 64), 50).save(file, "PNG")
            PNG = file.getvalue()
            def embedding_encode_batch(batch_index, batch, verbose=False):
                Image.open(io.BytesIO({data})).load()
            """
        )
    )
    assert error.reason is reason


@pytest.mark.parametrize("raised", ["OSError('connection lost')", "OSError(5, 'Input/output error')"])
def test_other_oserror_is_an_unavailable_model(encoder: Callable[..., Encoder], raised: str) -> None:
    failing = encoder(f"def embedding_encode_batch(batch_index, batch, verbose=False): raise {raised}")
    with pytest.raises(EncoderUnavailable):
        failing.encode([(1, "a")])


def test_wrapper_returns_the_error_of_a_row_in_place_of_its_vector(encoder: Callable[..., Encoder]) -> None:
    tiny = encoder(
        """
        from crdbvec_pipelines.encoding import InputRejected
        def embedding_encode_batch(batch_index, batch, verbose=False):
            return [(key, InputRejected(reason="damaged") if value == "bad" else [1, len(value)])
                    for key, value in reversed(list(batch))]
        """
    )
    with pytest.raises(RowsRejected, match="rejected 1 inputs, the first at position 1: damaged") as caught:
        tiny.encode([("a", "x"), ("b", "bad"), ("c", "xyz")])
    error = caught.value
    assert {position: failure.reason for position, failure in error.failures.items()} == {1: Reason.DAMAGED}
    assert error.encoded is not None
    assert error.encoded.vectors.tolist() == [[1, 1], [1, 3]]
    with pytest.raises(RowsRejected) as caught:
        tiny.encode([("b", "bad")])
    assert caught.value.encoded is None
    copy = pickle.loads(pickle.dumps(error))
    assert copy.encoded.vectors.tolist() == [[1, 1], [1, 3]]
    assert copy.failures.keys() == {1}


def test_backend_returns_the_errors_of_texts(encoder: Callable[..., Encoder]) -> None:
    tiny = encoder(
        """
        import numpy as np
        from crdbvec_pipelines.encoding import InputRejected
        class Backend:
            def encode(self, texts):
                vectors = np.array([[1, float("nan") if text == "nan" else 2] for text in texts])
                failed = {place: InputRejected(reason="too_long") for place, text in enumerate(texts) if text == "long"}
                return vectors, np.zeros(len(texts), bool), np.zeros(len(texts)), failed
            def count_tokens(self, texts): return None
        def embedding_backend(threads): return Backend()
        """
    )
    with pytest.raises(RowsRejected) as caught:
        tiny.encode([(1, "a"), (2, "nan"), (3, "b"), (4, "long")])
    reasons = {position: failure.reason for position, failure in caught.value.failures.items()}
    assert reasons == {1: Reason.UNUSABLE_VECTOR, 3: Reason.TOO_LONG}
    assert caught.value.encoded is not None
    assert caught.value.encoded.vectors.tolist() == [[1, 2], [1, 2]]
    with pytest.raises(InputRejected):
        tiny.encode_query("long")
