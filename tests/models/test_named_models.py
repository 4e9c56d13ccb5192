"""Models by name: the vectors of sentence-transformers for generated models of each architecture, and the settings."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crdbvec_pipelines.config import load_config
from crdbvec_pipelines.encoding import Encoder, ModelError, ModelRegistry
from crdbvec_pipelines.encoding.backends.inspection import inspect_model
from crdbvec_pipelines.encoding.backends.vector_comparison import VectorComparison
from crdbvec_pipelines.encoding.registry import load_registry
from tests.support.generated_models import PICTURE_MODELS, TEXT_MODELS, TEXTS

# What the backend of each model is; the others run on OpenVINO.
STATIC = {"static"}
# The generated models whose vectors are compared through each backend.
NAMES = [*TEXT_MODELS, *PICTURE_MODELS]
PROMPTS = {
    "xlm_r": ("passage: ", "query: "),
    "qwen3": ("", "task: search | query: "),
    "embedding_gemma": ("title: none | text: ", "task: search result | query: "),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the generated models; each is generated when a test needs it."""
    return tmp_path_factory.mktemp("generated")


def _folder(models: Path, name: str) -> Path:
    folder = models / name
    if not folder.exists():
        {**TEXT_MODELS, **PICTURE_MODELS}[name](folder)
    return folder


def _encoder(folder: Path, **settings: object) -> Encoder:
    name = str(folder)
    if not (folder / "modules.json").exists():
        settings = {"pooling": "mean", **settings}
    return ModelRegistry(settings={name: settings}).load(name)


def _vectors(encoder: Encoder, texts: list[str]) -> NDArray[np.float32]:
    """Return the vectors of the backend, before vectors that cannot be used are rejected."""
    backend = encoder.load_backend()
    assert backend is not None
    return np.asarray(backend.encode(texts)[0])


def _least_cosine(vectors: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the smallest cosine similarity, without the texts that have no vector in sentence-transformers."""
    defined = np.isfinite(expected).all(axis=1) & expected.any(axis=1)
    vectors, expected = vectors[defined].astype(np.float64), expected[defined]
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((vectors * expected).sum(axis=1) / lengths).min())


@pytest.mark.parametrize("name", NAMES)
def test_vectors_equal_those_of_sentence_transformers(models: Path, name: str) -> None:
    from sentence_transformers import SentenceTransformer

    folder = _folder(models, name)
    original = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    texts = [{"text": text} for text in TEXTS] if name in PICTURE_MODELS else TEXTS
    documents = np.asarray(original.encode_document(texts, show_progress_bar=False))
    query = np.asarray(original.encode_query(texts[:1], show_progress_bar=False))
    encoder = _encoder(folder)
    found = _vectors(encoder, TEXTS)
    assert encoder.dim == documents.shape[1] == 32
    # On a processor with bfloat16, the fast engine multiplies in it.
    assert _least_cosine(found, documents) >= 0.9995
    assert _least_cosine(_vectors(encoder, TEXTS[:1]), documents[:1]) >= 0.9995
    assert _least_cosine(encoder.encode_query(TEXTS[0])[None], query) >= 0.9995
    exact = _encoder(folder, precision="f32")
    assert _least_cosine(_vectors(exact, TEXTS), documents) >= 0.99999
    engine = exact.description.partition("Engine")[2]
    expected_engine = "numpy" if name in STATIC else "OpenVINO in f32, converted by"
    assert expected_engine in engine, engine
    prompts = PROMPTS.get(name, ("", ""))
    assert all(not prompt or repr(prompt) in exact.description for prompt in prompts)


def test_torch_computes_the_same_vectors(models: Path) -> None:
    for name in ("xlm_r", "router", "clip"):
        folder = _folder(models, name)
        fast = _vectors(_encoder(folder, precision="f32"), TEXTS)
        slow = _encoder(folder, backend="torch")
        assert _least_cosine(_vectors(slow, TEXTS), fast) >= 0.99999
        fast_query = _encoder(folder, precision="f32").encode_query("a dog")
        assert _least_cosine(slow.encode_query("a dog")[None], fast_query[None]) >= 0.99999


def test_each_setting_that_changes_a_vector_changes_the_id(models: Path) -> None:
    folder = _folder(models, "xlm_r")
    changes: list[dict[str, object]] = [
        {},
        {"prompts": {"passage": ""}},
        {"prompts": {"passage": "text: "}},
        {"dimensions": 16},
        {"normalize": False},
        {"pooling": "cls"},
        {"max_tokens": 16},
    ]
    encoders = [_encoder(folder, precision="f32", **change) for change in changes]
    assert len({encoder.model_id for encoder in encoders}) == len(changes)
    text = "a dog on the beach of the river in the city and the bank of the river and the eye of a cat"
    vectors = [_vectors(encoder, [text])[0] for encoder in encoders]
    assert [len(vector) for vector in vectors] == [32, 32, 32, 16, 32, 32, 32]
    assert len({tuple(vector[:16].round(4)) for vector in vectors}) == len(changes)
    # Settings without an influence on the vectors of rows keep the id.
    for change in ({"prompts": {"query": "find: "}}, {"batch": 8}, {"threads": 1}, {"backend": "torch"}):
        assert _encoder(folder, **change).model_id == encoders[0].model_id
    # Truncated vectors are scaled to length 1 again, as the model's are.
    assert np.linalg.norm(vectors[3]) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(vectors[3], vectors[0][:16] / np.linalg.norm(vectors[0][:16]), atol=1e-4)
    assert np.linalg.norm(vectors[4]) > 1.5


def test_id_of_a_folder_depends_on_its_content_only(models: Path, tmp_path: Path) -> None:
    folder = _folder(models, "bert")
    shutil.copytree(folder, tmp_path / "copy")
    assert _encoder(tmp_path / "copy").model_id == _encoder(folder).model_id
    pooling = tmp_path / "copy" / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace('"mean"', '"cls"'))
    assert _encoder(tmp_path / "copy").model_id != _encoder(folder).model_id


def test_metric_is_that_of_the_model(models: Path) -> None:
    assert _encoder(_folder(models, "bert")).metric == "cosine"
    assert _encoder(_folder(models, "distilbert")).metric == "ip"


def test_too_many_dimensions_are_rejected(models: Path) -> None:
    with pytest.raises(ModelError, match="`dimensions: 64` is more than the 32 of the model"):
        _ = _encoder(_folder(models, "bert"), dimensions=64).dim


def test_unknown_setting_is_rejected(models: Path) -> None:
    with pytest.raises(ModelError, match=r"no setting `dimension`\. Its settings are revision, prompts, dimensions"):
        _encoder(_folder(models, "bert"), dimension=64)


def test_missing_weights_are_rejected(models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(_folder(models, "bert"), tmp_path / "incomplete")
    file = tmp_path / "incomplete" / "model.safetensors"
    weights = load_file(file)
    kept = {name: value for name, value in weights.items() if "layer.1." not in name}
    save_file(kept, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"are incomplete: 16 parameters .* such as encoder\.layer\.1\."):
        _ = _encoder(tmp_path / "incomplete").dim


def test_weights_of_another_shape_are_rejected(models: Path, tmp_path: Path) -> None:
    shutil.copytree(_folder(models, "bert"), tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "intermediate_size": 96}))
    with pytest.raises(ModelError, match=r"another shape|size mismatch"):
        _ = _encoder(tmp_path / "other").dim


def test_pickled_weights_are_rejected(models: Path, tmp_path: Path) -> None:
    shutil.copytree(_folder(models, "t5"), tmp_path / "dense")
    (tmp_path / "dense" / "2_Dense" / "model.safetensors").rename(tmp_path / "dense" / "2_Dense" / "pytorch_model.bin")
    shutil.copytree(_folder(models, "bert"), tmp_path / "whole")
    (tmp_path / "whole" / "model.safetensors").rename(tmp_path / "whole" / "pytorch_model.bin")
    for name, file in (("dense", "2_Dense/pytorch_model.bin"), ("whole", "pytorch_model.bin")):
        with pytest.raises(ModelError, match=rf"are pickled \({file}\).* Only safetensors are read"):
            _ = _encoder(tmp_path / name).model_id


def test_code_of_a_model_is_never_run(models: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for name, file, change in (
        ("module", "modules.json", {"type": "own_module.Own"}),
        ("architecture", "config.json", {"model_type": "own", "auto_map": {"AutoModel": "own_module.Own"}}),
    ):
        folder = tmp_path / name
        shutil.copytree(_folder(models, "bert"), folder)
        (folder / "own_module.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
        content = json.loads((folder / file).read_text())
        (content[1] if isinstance(content, list) else content).update(change)
        (folder / file).write_text(json.dumps(content))
        with pytest.raises(ModelError, match=r"needs code of its own.*which is never run"):
            _ = _encoder(folder).dim
    assert not ran.exists()


def test_pooling_must_be_known(models: Path) -> None:
    name = str(_folder(models, "plain_bert"))
    with pytest.raises(ModelError, match=r"has no modules\.json.* Set its `pooling` to mean, cls or lasttoken"):
        _ = ModelRegistry().load(name).dim
    first = ModelRegistry().load(f"{name}?pooling=cls").encode([(1, "a dog")]).vectors
    mean = ModelRegistry().load(f"{name}?pooling=mean").encode([(1, "a dog")]).vectors
    assert _least_cosine(first, mean) < 0.999


def test_folder_that_is_not_a_model_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a model folder: it contains neither modules\.json nor config\.json"):
        _ = ModelRegistry().load(str(tmp_path)).model_id
    with pytest.raises(ModelError, match=r"The model folder .*missing does not exist"):
        _ = ModelRegistry().load(str(tmp_path / "missing")).model_id


def test_settings_are_written_next_to_the_name(models: Path, tmp_path: Path) -> None:
    shutil.copytree(_folder(models, "xlm_r"), tmp_path / "e5")
    model = '{name: ./e5, dimensions: 16, normalize: true, prompts: {passage: "text: ", query: ""}}'
    (tmp_path / "crdbvec.yaml").write_text(
        f"vectors:\n  - {{table: t, input: body, output: v, model: {model}}}\n"
        f"  - {{table: t, input: body, output: w, model: ./e5}}\n"
    )
    config = load_config(tmp_path / "crdbvec.yaml")
    small, whole = (load_registry(config).load(column.model) for column in config.vectors)
    assert config.vectors[0].model == (
        f"{tmp_path}/e5?dimensions=16&normalize=true&prompts.passage=text:%20&prompts.query=".replace("%20", " ")
    )
    assert (small.dim, whole.dim) == (16, 32)
    assert "Prompt before rows: 'text: '" in small.description
    assert "No prompt before searches" in small.description


def test_texts_that_are_paths_and_urls_of_pictures_are_not_opened(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins
    import io
    import os
    import socket

    from PIL import Image

    picture = tmp_path / "picture.png"
    Image.new("RGB", (32, 32), "red").save(picture)
    texts = [str(picture), "https://example.org/picture.png", "http://127.0.0.1/a.jpg", f"file://{picture}"]
    encoders = [_encoder(_folder(models, "clip"), backend=backend) for backend in ("auto", "torch")]
    for encoder in encoders:
        encoder.load()
        encoder.encode_query("a dog")

    def guard(*arguments: object, **_: object) -> None:
        raise AssertionError(f"opened {arguments}")

    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "connect", guard)
        patched.setattr(socket, "getaddrinfo", guard)
        patched.setattr(builtins, "open", guard)
        patched.setattr(io, "open", guard)
        patched.setattr(os, "open", guard)
        patched.setattr(Image, "open", guard)
        results = []
        for encoder in encoders:
            results.append(encoder.encode([(position, text) for position, text in enumerate(texts)]).vectors)
            for text in texts:
                encoder.encode_query(text)
    assert _least_cosine(results[0], results[1]) >= 0.9995
    # As texts, two paths of the same file have different vectors.
    assert _least_cosine(results[1][:1], results[1][3:]) < 0.9999


def test_failed_conversion_leaves_the_logging_of_the_process(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRDBVEC_CACHE_DIR", str(tmp_path))
    root = logging.getLogger()
    before = root.level, root.filters[:], root.handlers[:]
    # The conversion by trace fails, and that by torch.export succeeds.
    encoder = _encoder(_folder(models, "embedding_gemma"))
    assert _vectors(encoder, TEXTS[:1]).any()
    assert "torch.export" in encoder.description
    assert (root.level, root.filters, root.handlers) == before


@pytest.mark.parametrize(
    ("cosine", "centered", "length", "is_exact"),
    [(1.0, 0.999, 0.0, True), (0.9994, 1.0, 0.0, False), (1.0, 0.98, 0.0, False), (1.0, 1.0, 0.05, False)],
)
def test_conversion_is_used_only_if_all_comparisons_agree(
    cosine: float, centered: float, length: float, is_exact: bool
) -> None:
    assert VectorComparison("bf16", cosine, centered, length).is_exact is is_exact
    assert not VectorComparison("bf16", float("nan"), centered, length).is_exact


def test_model_is_inspected_once(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(models, "bert")
    weights = _encoder(folder, max_tokens=20)
    assert weights.dim == 32
    from crdbvec_pipelines.encoding.backends import inspection

    def fail(*_: object) -> None:
        raise AssertionError("loaded again")

    monkeypatch.setattr(inspection, "load_sentence_transformer", fail)
    again = _encoder(folder, max_tokens=20)
    assert (again.dim, again.metric) == (32, "cosine")
    assert [count.encoded for count in again.read_tokens(["the dog " * 40]) or ()] == [20]
    assert callable(inspect_model)
