"""Encoders: order of the results, checks of the results, translation of errors, backends."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from crdbvec_pipelines.encoding import (
    Encoder,
    EncoderUnavailable,
    EncodingError,
    InputRefused,
    InputRejected,
    InputTooLong,
    ModelError,
    ModelRegistry,
    RowsRejected,
)
from tests.support.waiting import wait_until

BATCH = [("k1", "one"), ("k2", "three"), ("k3", "eleven")]
SECRET = "text of a row"


@pytest.fixture
def encoder(write_wrapper: Callable[..., Path]) -> Callable[[str], Encoder]:
    def make(extra: str = "") -> Encoder:
        return ModelRegistry([write_wrapper("tiny", extra)]).load("tiny")

    return make


def test_wrapper_with_only_the_required_functions(encoder: Callable[..., Encoder]) -> None:
    tiny = encoder()
    encoded = tiny.encode(BATCH)
    assert (tiny.name, tiny.label, tiny.dim, tiny.metric) == ("tiny", "Length and vowels", 2, "cosine")
    assert tiny.description == "Counts characters and vowels."
    assert tiny.model_id == "tiny"
    assert encoded.vectors.tolist() == [[3, 2], [5, 2], [6, 3]]
    assert encoded.vectors.dtype == np.float32
    assert not encoded.truncated.any()
    assert encoded.vectors.flags.c_contiguous
    assert tiny.encode_query("query").tolist() == [5, 2]
    tiny.load()


def test_optional_functions_are_used(encoder: Callable[..., Encoder]) -> None:
    tiny = encoder(
        """
        def embedding_metric(): return "l2"
        def embedding_id(): return "tiny-v2"
        def embedding_encode_query(text): return [7, 7]
        """
    )
    assert (tiny.metric, tiny.model_id, tiny.encode_query("x").tolist()) == ("l2", "tiny-v2", [7, 7])


def test_results_may_be_any_iterable_in_any_order(encoder: Callable[..., Encoder]) -> None:
    tiny = encoder(
        """
        def embedding_encode_batch(batch_index, batch, verbose=False):
            return (list(pair) for pair in reversed([(key, embedding_encode(value)) for key, value in batch]))
        """
    )
    assert tiny.encode(BATCH).vectors.tolist() == [[3, 2], [5, 2], [6, 3]]


def test_result_of_an_empty_batch_has_the_dimension_of_the_model(encoder: Callable[..., Encoder]) -> None:
    assert encoder().encode([]).vectors.shape == (0, 2)


def test_keys_may_be_composite(encoder: Callable[..., Encoder]) -> None:
    assert encoder().encode([(("a", 1), "xy"), (("a", 2), "z")]).vectors.tolist() == [[2, 0], [1, 0]]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("[('k1', [1, 2]), ('k2', [1, 2])]", "no result for 1 of the keys, the first at position 2"),
        ("[('k1', [1, 2]), ('k9', [1, 2])]", "result 1 has a key that is not in the batch"),
        ("[('k1', [1, 2]), ('k1', [1, 2])]", "two results for the key at position 0"),
        ("[('k2', [1, 2, 3])]", r"position 1: the vector has the shape \(3,\); the dimension of the model is 2"),
        ("[('k3', [1, float('nan')])]", "position 2: the vector contains a value that is not finite"),
        ("[('k3', [1, 1e300])]", "position 2: the vector contains a value that is not finite"),
        ("[('k3', 'ab')]", "position 2: the vector is not a list of numbers"),
        ("['k1', 'k2', 'k3']", "must return \\(key, vector\\) pairs"),
        ("[({}, [1, 2])]", "must return \\(key, vector\\) pairs"),
    ],
)
def test_unusable_result_is_rejected(encoder: Callable[..., Encoder], result: str, message: str) -> None:
    tiny = encoder(f"def embedding_encode_batch(batch_index, batch, verbose=False): return {result}")
    with pytest.raises(EncodingError, match=message) as caught:
        tiny.encode(BATCH, batch_index=7)
    assert "The model tiny, batch 7 of 3 rows" in str(caught.value)


def test_duplicate_key_in_a_batch_is_rejected(encoder: Callable[..., Encoder]) -> None:
    with pytest.raises(EncodingError, match="two rows have the same key"):
        encoder().encode([(1, "a"), (1, "b")])


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        ("ValueError(batch)", InputRejected),
        ("RuntimeError(batch)", InputRejected),
        ("UnicodeDecodeError('utf8', b'x', 0, 1, 'y')", InputRejected),
        ("MemoryError()", MemoryError),
        ("KeyboardInterrupt()", KeyboardInterrupt),
        ("ModuleNotFoundError('no', name='some_library')", ModelError),
        ("ConnectionError(batch)", EncoderUnavailable),
        ("TimeoutError()", EncoderUnavailable),
        ("FileNotFoundError(2, 'No such file')", EncoderUnavailable),
    ],
)
def test_exceptions_of_a_wrapper_are_translated(
    encoder: Callable[..., Encoder], raised: str, expected: type[BaseException]
) -> None:
    tiny = encoder(f"def embedding_encode_batch(batch_index, batch, verbose=False): raise {raised}")
    with pytest.raises(expected) as caught:
        tiny.encode([(1, SECRET)])
    assert type(caught.value) is expected
    assert SECRET not in str(caught.value)


def test_the_name_of_release_0_1_0_is_the_same_class() -> None:
    assert InputRefused is InputRejected


def test_errors_of_the_layer_are_raised_unchanged(encoder: Callable[..., Encoder]) -> None:
    tiny = encoder(
        """
        from crdbvec_pipelines.encoding import InputTooLong, EncoderUnavailable
        def embedding_encode_batch(batch_index, batch, verbose=False): raise InputTooLong("too long")
        def embedding_encode_query(text): raise EncoderUnavailable("busy", retry_after=3)
        """
    )
    with pytest.raises(InputTooLong, match=r"^too long$"):
        tiny.encode(BATCH)
    with pytest.raises(EncoderUnavailable) as caught:
        tiny.encode_query("x")
    assert caught.value.retry_after == 3


@pytest.mark.parametrize(
    ("extra", "property_name", "message"),
    [
        (
            "def embedding_metric(): return 'manhattan'",
            "metric",
            "is 'manhattan'. Return one of cosine, l2, ip from embedding_metric",
        ),
        ("def embedding_dim(): return 0", "dim", "is 0. Return an integer of 1 or more from embedding_dim"),
        ("def embedding_dim(): return '2'", "dim", "is '2'. Return an integer of 1 or more from embedding_dim"),
        ("def embedding_dim(): return 1 / 0", "dim", "failed in embedding_dim with ZeroDivisionError"),
    ],
)
def test_invalid_description_of_a_model_is_rejected(
    encoder: Callable[..., Encoder], extra: str, property_name: str, message: str
) -> None:
    tiny = encoder(extra)
    with pytest.raises(ModelError, match=message):
        getattr(tiny, property_name)


_COUNTS_CALLERS = """
    import threading, time
    inside, most, lock = 0, 0, threading.Lock()
    def embedding_encode_batch(batch_index, batch, verbose=False):
        global inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        barrier_wait()
        with lock:
            inside -= 1
        return [(key, [most, 0]) for key, value in batch]
"""


def test_calls_are_serialized_by_default(encoder: Callable[..., Encoder]) -> None:
    tiny = encoder(_COUNTS_CALLERS + "    def barrier_wait(): time.sleep(0.005)\n")
    with ThreadPoolExecutor(4) as pool:
        most = list(pool.map(lambda _: tiny.encode(BATCH).vectors[0, 0], range(12)))
    assert max(most) == 1


def test_calls_of_a_thread_safe_wrapper_are_concurrent(encoder: Callable[..., Encoder]) -> None:
    # Both threads must be inside at the same time to pass the barrier. With a lock around the calls, it times out.
    tiny = encoder(
        _COUNTS_CALLERS
        + "    barrier_wait = threading.Barrier(2, timeout=20).wait\n    def embedding_is_thread_safe(): return True\n"
    )
    with ThreadPoolExecutor(2) as pool:
        most = list(pool.map(lambda _: tiny.encode(BATCH).vectors[0, 0], range(2)))
    assert max(most) == 2


_FAKE_BACKEND = """
    import numpy as np
    from pathlib import Path
    loads = []
    class FakeBackend:
        def encode(self, texts):
            return VECTORS, np.array([text.startswith("t") for text in texts])
        def count_tokens(self, texts):
            return [len(text) for text in texts]
    def embedding_backend(threads):
        loads.append(threads)
        return FakeBackend()
"""


def test_backend_is_used_instead_of_the_functions(write_wrapper: Callable[..., Path]) -> None:
    extra = _FAKE_BACKEND.replace("VECTORS", "np.array([[len(text), 9] for text in texts], dtype=np.float64)")
    registry = ModelRegistry([write_wrapper("fake", extra + "    def embedding_id(): return str(loads)\n")])
    encoder = registry.load("fake", threads=3)
    encoder.load()
    encoded = encoder.encode(BATCH)
    assert (encoded.vectors.tolist(), encoded.truncated.sum()) == ([[3, 9], [5, 9], [6, 9]], 1)
    assert encoded.vectors.dtype == np.float32
    assert encoder.model_id == "[3]"
    assert encoder.count_tokens(["one", "three"]) == [3, 5]
    assert encoder.encode_query("seven").tolist() == [5, 9]


def test_error_of_background_loading_is_raised_by_the_next_call(write_wrapper: Callable[..., Path]) -> None:
    failing = """
        import threading
        loaded_by = []
        def embedding_backend(threads=None):
            loaded_by.append(threading.current_thread().name)
            raise OSError("no space left")
    """
    encoder = ModelRegistry([write_wrapper("fake", failing)]).load("fake")
    encoder.load_in_background()
    with pytest.raises(ModelError, match="OSError"):
        encoder.encode(BATCH)
    wait_until(lambda: "crdbvec-load-model" in sys.modules["crdbvec_models.fake"].loaded_by)


def test_only_a_backend_counts_tokens(encoder: Callable[..., Encoder]) -> None:
    assert encoder().count_tokens(["one"]) is None


def test_concurrent_threads_load_the_backend_once(write_wrapper: Callable[..., Path]) -> None:
    extra = _FAKE_BACKEND.replace("VECTORS", "np.ones((len(texts), 2))").replace(
        "        loads", "        import time; time.sleep(0.02); loads"
    )
    encoder = ModelRegistry([write_wrapper("fake", extra + "    def embedding_id(): return str(loads)\n")]).load("fake")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: encoder.encode(BATCH), range(4)))
    assert encoder.model_id == "[None]"


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ("np.zeros((1, 2))", r"shape \(1, 2\); expected \(3, 2\)"),
        (
            "np.array([[1, 1], [np.inf, 1], [1, 1]])",
            "at position 1: unusable_vector: The model returned no usable vector for the input .not finite.",
        ),
        ("np.ones((3, 2)), 1 #", "must return one truncation flag per text; expected 3"),
    ],
)
def test_unusable_result_of_a_backend_is_rejected(
    write_wrapper: Callable[..., Path], vectors: str, message: str
) -> None:
    registry = ModelRegistry([write_wrapper("fake", _FAKE_BACKEND.replace("VECTORS", vectors))])
    with pytest.raises(EncodingError, match=message):
        registry.load("fake").encode(BATCH)


def test_input_of_a_backend_must_be_text(write_wrapper: Callable[..., Path]) -> None:
    registry = ModelRegistry([write_wrapper("fake", _FAKE_BACKEND)])
    with pytest.raises(ModelError, match="encodes text, but the input has the type bytes"):
        registry.load("fake").encode([(1, b"not text")])


@pytest.mark.parametrize("code", ["sys.exit(0)", "sys.exit()", "raise SystemExit('done')"])
def test_wrapper_that_ends_the_process_is_a_model_error(encoder: Callable[..., Encoder], code: str) -> None:
    """Otherwise a command would exit with 0 although it has done nothing."""
    tiny = encoder(
        f"""
        import sys
        def embedding_encode_batch(batch_index, batch, verbose=False): {code}
        def embedding_id(): {code}
        """
    )
    with pytest.raises(
        ModelError, match=r"the wrapper tried to end the process\. Remove the call of sys\.exit from it\."
    ):
        tiny.encode(BATCH)
    with pytest.raises(ModelError, match="tried to end the process"):
        _ = tiny.model_id


def test_wrapper_that_ends_the_process_when_it_is_imported_is_a_model_error(encoder: Callable[..., Encoder]) -> None:
    with pytest.raises(ModelError, match=r"cannot be imported from .*: SystemExit: 0"):
        encoder("raise SystemExit(0)")


def test_vector_of_zeros_is_a_failed_row_only_if_the_distance_is_an_angle(encoder: Callable[..., Encoder]) -> None:
    zeros = """
def embedding_encode_batch(batch_index, batch, verbose=False):
    return [(key, [0, 0] if value == "three" else [1, 2]) for key, value in batch]
"""
    with pytest.raises(RowsRejected, match=r"the first at position 1: unusable_vector: .* \(zeros\)\.") as caught:
        encoder(zeros).encode(BATCH)
    assert list(caught.value.failures) == [1]
    l2 = encoder(zeros + "def embedding_metric(): return 'l2'\n")
    assert l2.encode(BATCH).vectors.tolist() == [[1, 2], [0, 0], [1, 2]]


def test_panic_of_a_library_in_a_thread_is_a_rejected_input(encoder: Callable[..., Encoder]) -> None:
    """As in a refresh, whose threads encode; an exception that is not an `Exception` would end the process."""
    tiny = encoder(
        """
        class PanicException(BaseException): pass
        def embedding_encode_batch(batch_index, batch, verbose=False): raise PanicException(batch)
        """
    )
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(InputRejected, match="rejected the input with PanicException") as e,
    ):
        pool.submit(tiny.encode, [("key", SECRET)]).result()
    assert SECRET not in str(e.value)
