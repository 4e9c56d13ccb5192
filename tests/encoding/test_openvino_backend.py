"""The OpenVINO backend: the same vectors as PyTorch, without importing it, with several threads and processes."""

import json
import resource
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crdbvec_pipelines.encoding import ModelError
from crdbvec_pipelines.encoding.backends.inspection import inspect_model
from crdbvec_pipelines.encoding.backends.openvino import OpenVinoBackend
from crdbvec_pipelines.encoding.backends.openvino_model import InexactConversion, load_openvino
from crdbvec_pipelines.encoding.backends.variant import Variant
from crdbvec_pipelines.encoding.cache_folder import cache_folder
from crdbvec_pipelines.encoding.weights import Weights, locate_weights

ENCODE = """
    import sys
    from crdbvec_pipelines.encoding import ModelRegistry
    registry = ModelRegistry(settings={"hf_st_all_minilm_l6": {"backend": "openvino"}})
    vectors = registry.load("hf_st_all_minilm_l6", threads=1).encode([(1, "an entity")]).vectors
    print(round(float(vectors[0] @ vectors[0]), 2), "torch" in sys.modules, "sentence_transformers" in sys.modules)
"""


@pytest.fixture(scope="module")
def backend(minilm_weights: Weights) -> OpenVinoBackend:
    return _load(minilm_weights)


@pytest.fixture(scope="module")
def small_model(minilm_weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """A RoBERTa with random weights; its vectors are meaningless, but must be the same with every backend."""
    from transformers import RobertaConfig, RobertaModel, set_seed

    folder = tmp_path_factory.mktemp("small") / "model"
    shutil.copytree(minilm_weights.directory, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "1_Pooling" / "config.json").write_text('{"embedding_dimension": 64, "pooling_mode": ["cls", "max"]}')
    set_seed(0)
    config = RobertaConfig(
        vocab_size=30522,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=258,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(folder)
    return locate_weights("a/b", path=folder)


def _load(weights: Weights, full_precision: bool = False) -> OpenVinoBackend:
    variant = Variant()
    return load_openvino(weights, inspect_model(weights, variant), variant, "document", None, full_precision)


def _least_cosine(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
    return float(((vectors * reference).sum(axis=1) / norms).min())


def test_vectors_equal_those_of_sentence_transformers(
    backend: OpenVinoBackend, texts: list[str], reference: NDArray[np.float32]
) -> None:
    vectors, truncated, *_ = backend.encode(texts)
    assert vectors.dtype == np.float32
    assert _least_cosine(vectors, reference) >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert truncated.tolist() == [text.count(" ") + 3 > 256 for text in texts]


def test_tokens_that_were_read_are_counted(backend: OpenVinoBackend, texts: list[str]) -> None:
    windows = [count.encoded or 0 for count in backend.tokens(texts)]
    assert max(windows) == 256
    assert backend.encode(texts).tokens == sum(windows)


def test_empty_batch_and_single_text(
    backend: OpenVinoBackend, texts: list[str], reference: NDArray[np.float32]
) -> None:
    assert backend.encode([])[0].shape == (0, 384)
    assert _least_cosine(backend.encode(texts[:1])[0], reference[:1]) >= 0.9999


def test_threads_share_the_requests(backend: OpenVinoBackend, texts: list[str], reference: NDArray[np.float32]) -> None:
    # More threads than requests, each with several batches, so that some threads wait.
    with ThreadPoolExecutor(8) as pool:
        for vectors, *_ in pool.map(backend.encode, [texts * 2] * 9):
            assert _least_cosine(vectors, np.concatenate([reference, reference])) >= 0.9999


def test_call_succeeds_after_a_failed_call(
    backend: OpenVinoBackend, texts: list[str], reference: NDArray[np.float32]
) -> None:
    for _ in range(10):
        with pytest.raises(TypeError):
            backend.encode([*texts, 5])  # type: ignore[list-item]
    assert _least_cosine(backend.encode(texts)[0], reference) >= 0.9999


def test_torch_is_not_imported_for_a_cached_model(backend: OpenVinoBackend, run_python: Callable[..., str]) -> None:
    assert run_python(ENCODE) == "1.0 False False"


def test_concurrent_processes_convert_once(
    small_model: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
        import sys
        from pathlib import Path
        from crdbvec_pipelines.encoding.backends.select import BackendOptions, load_backend
        from crdbvec_pipelines.encoding.weights import locate_weights
        weights = locate_weights("a/b", path=Path(sys.argv[1]))
        backend = load_backend(weights, BackendOptions(backend="openvino", threads=1))
        print("torch" in sys.modules, len(backend.encode(["an entity"])[0][0]))
    """
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path))
    command = [sys.executable, "-c", textwrap.dedent(source), str(small_model.directory)]
    root = Path(__file__).parents[2]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root) for _ in range(3)
    ]
    finished = [(*process.communicate(timeout=200), process.returncode) for process in started]
    # The model is inspected by one process and converted by one, which may be another.
    printed = sorted(out.strip() for out, _, _ in finished)
    assert printed in (["False 128", "False 128", "True 128"], ["False 128", "True 128", "True 128"]), finished
    (converted,) = [path for path in (tmp_path / "openvino").iterdir() if path.is_dir()]
    (compiled,) = [path for path in converted.iterdir() if path.is_dir()]
    assert len(list(compiled.iterdir())) == 1


def test_compiled_model_is_read_from_the_cache(
    minilm_weights: Weights, backend: OpenVinoBackend, texts: list[str], reference: NDArray[np.float32]
) -> None:
    def cached_files() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in cache_folder("openvino").glob("*/*/*.blob")}

    before = cached_files()
    assert before
    assert _least_cosine(_load(minilm_weights).encode(texts)[0], reference) >= 0.9999
    assert cached_files() == before


def test_unwritable_cache_is_not_used(
    minilm_weights: Weights,
    backend: OpenVinoBackend,
    texts: list[str],
    reference: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(cache_folder("openvino"), tmp_path / "openvino")
    for compiled in [path.parent for path in (tmp_path / "openvino").glob("*/*/*.blob")]:
        shutil.rmtree(compiled)
        # A folder with the name of the lock file prevents locking and building, even for root.
        lock = compiled.with_name(f"{compiled.name}.lock")
        lock.unlink()
        lock.mkdir()
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path))
    assert _least_cosine(_load(minilm_weights).encode(texts)[0], reference) >= 0.9999


def test_architecture_whose_positions_depend_on_padding(small_model: Weights, texts: list[str]) -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(small_model.directory), device="cpu").encode(texts, show_progress_bar=False)
    assert _least_cosine(_load(small_model).encode(texts)[0], np.asarray(expected)) >= 0.9999
    np.testing.assert_allclose(_load(small_model, full_precision=True).encode(texts)[0], expected, atol=1e-5)


def test_rejection_of_an_inexact_conversion_is_cached(
    small_model: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path / "cache"))
    # A tokenizer other than that of PyTorch, as after a change of its format.
    file = inspect_model(small_model, Variant()).tokenizer_file("document")
    content = json.loads(file.read_text())
    content["normalizer"] = {"type": "Replace", "pattern": {"String": "e"}, "content": "x"}
    file.write_text(json.dumps(content))
    for _ in range(2):
        with pytest.raises(
            InexactConversion, match=r"converted by trace, differ from those of PyTorch \(smallest cosine"
        ):
            _load(small_model, full_precision=True)
    assert {path.name for path in (tmp_path / "cache" / "openvino").glob("*/*")} == {"refused.txt"}


def test_damaged_converted_model_is_reported(
    minilm_weights: Weights, backend: OpenVinoBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cache_folder("openvino"), tmp_path / "openvino")
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path))
    for model in (tmp_path / "openvino").glob("*/model.xml"):
        model.write_text("<net")
    with pytest.raises(ModelError, match=r"OpenVINO cannot load .*model\.xml\. Delete"):
        _load(minilm_weights)


def test_converted_model_that_cannot_be_written_leaves_no_part(
    small_model: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path))
    inspect_model(small_model, Variant())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Less than the model.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(ModelError, match=r"cannot be written \(OpenVINO could not write the converted model\)"):
            _load(small_model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    converted = tmp_path / "openvino"
    assert [path.name for path in converted.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    assert _load(small_model).encode(["a text"]).vectors.any()
