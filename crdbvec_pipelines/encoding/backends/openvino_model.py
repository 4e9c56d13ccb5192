"""A sentence-transformers model as an OpenVINO one: whether it can be, the conversion, and its check against PyTorch.

Tracing goes through sentence-transformers' own modules, so pooling and normalisation are theirs and not a rendering of
them. Converted models are kept in the cache folder; only a conversion imports torch.
"""

import hashlib
import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crdbvec_pipelines.encoding.backends.openvino import OpenVinoBackend, Precision
from crdbvec_pipelines.encoding.backends.tokens import TextTokenizer
from crdbvec_pipelines.encoding.backends.torch import load_sentence_transformer
from crdbvec_pipelines.encoding.cache import build_once, cache_folder
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.pipeline import Pipeline, configuration_files
from crdbvec_pipelines.encoding.weights import Weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Raised when the conversion changes, so that no process reads what another version of this module made.
_FORMAT = "1"
_MODEL = "model.xml"
# What a cached folder holds instead of a model when the conversion does not keep the vectors.
_REFUSED = "refused.txt"
# Encoders that attend to the whole text and need no other input than token numbers and a mask.
_ARCHITECTURES = frozenset({"albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"})
_MODULES = frozenset({("transformer", "pooling"), ("transformer", "pooling", "normalize")})
_POOLING = frozenset({"cls", "max", "mean", "mean_sqrt_len_tokens"})
# How far a vector may be from PyTorch's, in lengths of that one; between vectors of length 1 it is a cosine of 0.9999.
_FAITHFUL_DISTANCE = 0.01414
# Both ends of the window, and what tokenizers differ about: case, accents, scripts, blanks, digits.
_SAMPLES = [
    "",
    "An entity.",
    "that which is perceived or known or inferred to have its own distinct existence (living or nonliving)",
    "  The CRÈME brûlée of São Paulo,\tnaïve façade; don't  ",
    "東京 is Japan's capital; Москва, Ελλάδα, ქართული, مرحبا",
    "0123 4.56e-7 #hashtag @user https://example.org/a?b=c <html> {} 🙂",
    "a long text that goes on " * 400,
]

_log = logging.getLogger(__name__)


class UnfaithfulConversion(Exception):
    """No conversion gives the vectors of PyTorch; the message says by how much, as a clause."""


def unsupported(pipeline: Pipeline, directory: Path) -> str | None:
    """Return why a model cannot be run by OpenVINO, or None when its configuration says nothing against it."""
    if pipeline.architecture not in _ARCHITECTURES:
        return f"its architecture is {pipeline.architecture or 'not stated'}"
    if pipeline.modules not in _MODULES:
        return f"its modules are {', '.join(pipeline.modules)}"
    if not _POOLING.issuperset(pipeline.pooling):
        return f"its pooling is {', '.join(pipeline.pooling)}"
    if pipeline.prompted:
        return "it puts a prompt before every text"
    if pipeline.max_seq_length is None:
        return "its window is not stated"
    if not (directory / "tokenizer.json").is_file():
        return "it has no tokenizer.json"
    return None


def load_openvino(weights: Weights, pipeline: Pipeline, threads: int | None, full_precision: bool) -> OpenVinoBackend:
    """Load a model, in the fastest precision that keeps its vectors; convert it first if that was never done.

    Args:
        weights: The model's folder and digest.
        pipeline: What the folder says of itself; `unsupported` must have nothing against it.
        threads: How many processor threads to use at most; None for all.
        full_precision: Whether float32 is asked for even where the processor multiplies faster in bfloat16.

    Raises:
        UnfaithfulConversion: The vectors would not be those of PyTorch in any precision.
        ModelError: PyTorch cannot load the model, or the cache folder cannot be written.
    """
    import openvino

    # float16 and int8 are no candidates: the one was slower than float32 on AVX-512, the other moves vectors.
    candidates: list[Precision] = ["f32"]
    core = openvino.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if not full_precision and "BF16" in capabilities:
        candidates.insert(0, "bf16")
    tokenizer = TextTokenizer(weights.directory, pipeline)
    for precision in candidates:
        folder = _converted(weights, tokenizer, precision)
        if not (folder / _REFUSED).is_file():
            kind = (core.get_property("CPU", "FULL_DEVICE_NAME"), capabilities)
            compiled = _compiled(folder, tokenizer, precision, threads, kind)
            return OpenVinoBackend(folder / _MODEL, tokenizer, precision, threads, compiled)
    raise UnfaithfulConversion((folder / _REFUSED).read_text(encoding="utf-8"))


def _converted(weights: Weights, tokenizer: TextTokenizer, precision: Precision) -> Path:
    """Return the cached folder of a model's conversion, made and checked now if it is not there yet."""

    def build(folder: Path) -> None:
        import openvino

        _log.info("Converting the model in %s for OpenVINO (%s), once.", weights.directory, precision)
        original = load_sentence_transformer(weights.directory, "cpu")
        try:
            graph = _convert(original)
        except (MemoryError, OSError):
            raise
        except Exception as error:
            reason: str | None = f"its conversion failed with {type(error).__name__}"
        else:
            reason = _difference(OpenVinoBackend(graph, tokenizer, precision), original)
        if reason is None:
            openvino.save_model(graph, folder / _MODEL, compress_to_fp16=False)
        else:
            (folder / _REFUSED).write_text(reason, encoding="utf-8")

    # The tokenizer and the window are not in the converted model, but the check depends on them.
    configuration = hashlib.sha256(b"".join(file.read_bytes() for file in configuration_files(weights.directory)))
    versions = f"openvino{version('openvino')}-{precision}-{_FORMAT}"
    return build_once(
        cache_folder("openvino", f"{weights.sha256[:16]}-{configuration.hexdigest()[:8]}-{versions}"), build
    )


def _compiled(
    folder: Path, tokenizer: TextTokenizer, precision: Precision, threads: int | None, processor: object
) -> Path | None:
    """Return the folder of what OpenVINO makes of a converted model here; a start takes a quarter of a second less.

    OpenVINO would write it by itself, but where another process may read half of it. None where nothing can be written.
    """
    machine = hashlib.sha256(repr((processor, threads)).encode()).hexdigest()[:8]

    def build(unfinished: Path) -> None:
        OpenVinoBackend(folder / _MODEL, tokenizer, precision, threads, unfinished)

    try:
        return build_once(folder / machine, build)
    except ModelError:
        return None


def _convert(original: "SentenceTransformer") -> Any:
    import openvino
    import torch
    from transformers.utils.logging import get_verbosity, set_verbosity, set_verbosity_error

    class Traced(torch.nn.Module):
        """From token numbers and mask straight to sentence vectors, all modules of the model in one graph."""

        def __init__(self) -> None:
            super().__init__()
            self.model = original

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]

    # Two rows of unlike length, so that no shape and no mask is taken for a constant.
    ids = torch.ones((2, 8), dtype=torch.int64)
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    verbosity = get_verbosity()
    set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # The tracer warns of every Python condition that it passes; whether one mattered, the check finds out.
            warnings.simplefilter("ignore")
            return openvino.convert_model(
                Traced().eval(),
                example_input={"input_ids": ids, "attention_mask": mask},
                input=[("input_ids", [-1, -1]), ("attention_mask", [-1, -1])],
            )
    finally:
        set_verbosity(verbosity)


def _difference(backend: OpenVinoBackend, original: "SentenceTransformer") -> str | None:
    """Say how far a conversion's vectors are from PyTorch's for the samples, or None when they are near enough."""
    vectors, _ = backend.encode(_SAMPLES)
    expected = np.asarray(original.encode(_SAMPLES, show_progress_bar=False))
    distances = np.linalg.norm(vectors - expected, axis=1) / np.linalg.norm(expected, axis=1)
    # Not written as a comparison that NaN would pass.
    if (distances <= _FAITHFUL_DISTANCE).all():
        return None
    return f"OpenVINO's vectors differ from PyTorch's by up to {distances.max():.4f} of their length"
