"""Conversion of sentence-transformers models to OpenVINO, and the check of the result against PyTorch.

The conversion traces the modules of sentence-transformers, so pooling and normalization are not reimplemented here.
Converted models are stored in the cache folder. Only a conversion imports torch.
"""

import errno
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
from crdbvec_pipelines.encoding.cache_folder import build_once, cache_folder
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.pipeline import Pipeline, configuration_files
from crdbvec_pipelines.encoding.weights import Weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Part of the folder name. It changes with the conversion, so that no process reads the result of another version.
_FORMAT = "1"
_MODEL_FILE = "model.xml"
# Contains the reason if the conversion was rejected; the folder then has no model. Release 0.1.0 wrote the same name.
_REJECTED_FILE = "refused.txt"
# Encoders that attend to the whole text and whose only inputs are token ids and attention mask.
_ARCHITECTURES = frozenset({"albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"})
_MODULES = frozenset({("transformer", "pooling"), ("transformer", "pooling", "normalize")})
_POOLING = frozenset({"cls", "max", "mean", "mean_sqrt_len_tokens"})
# The maximum distance of a vector from PyTorch's, relative to the length of PyTorch's vector. For vectors of length 1,
# this is a cosine similarity of 0.9999.
_MAX_RELATIVE_DISTANCE = 0.01414
# The shortest and the longest text, and what tokenizers treat differently: case, accents, scripts, blanks, digits.
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


class InexactConversion(Exception):
    """The vectors of every conversion differ from PyTorch's; the message is a clause that says by how much."""


def unsupported_reason(pipeline: Pipeline, directory: Path) -> str | None:
    """Return the reason why OpenVINO cannot run a model, as a clause; None if its configuration is supported."""
    if pipeline.architecture not in _ARCHITECTURES:
        return f"its architecture is {pipeline.architecture or 'not specified'}"
    if pipeline.modules not in _MODULES:
        return f"its modules are {', '.join(pipeline.modules)}"
    if not _POOLING.issuperset(pipeline.pooling):
        return f"its pooling is {', '.join(pipeline.pooling)}"
    if pipeline.has_default_prompt:
        return "it adds a prompt to every text"
    if pipeline.max_seq_length is None:
        return "its maximum sequence length is not specified"
    if not (directory / "tokenizer.json").is_file():
        return "it has no tokenizer.json"
    return None


def load_openvino(weights: Weights, pipeline: Pipeline, threads: int | None, full_precision: bool) -> OpenVinoBackend:
    """Load a model in the fastest precision that preserves its vectors; convert it first if it is not in the cache.

    Args:
        weights: The folder and the digest of the model.
        pipeline: The configuration of the folder; `unsupported_reason` must be None for it.
        threads: The maximum number of processor threads; None for all.
        full_precision: Whether to use float32 even if the processor multiplies faster in bfloat16.

    Returns:
        The backend.

    Raises:
        InexactConversion: The vectors differ from PyTorch's in every precision.
        ModelError: PyTorch cannot load the model, or the cache folder cannot be written.
    """
    import openvino

    # float16 and int8 are not candidates: float16 was slower than float32 on AVX-512, int8 changes the vectors.
    candidates: list[Precision] = ["f32"]
    core = openvino.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if not full_precision and "BF16" in capabilities:
        candidates.insert(0, "bf16")
    tokenizer = TextTokenizer(weights.directory, pipeline)
    for precision in candidates:
        folder = _conversion_folder(weights, tokenizer, precision)
        if not (folder / _REJECTED_FILE).is_file():
            processor = (core.get_property("CPU", "FULL_DEVICE_NAME"), capabilities)
            cache = _compilation_folder(folder, tokenizer, precision, threads, processor)
            return OpenVinoBackend(folder / _MODEL_FILE, tokenizer, precision, threads, cache)
    raise InexactConversion((folder / _REJECTED_FILE).read_text(encoding="utf-8"))


def _conversion_folder(weights: Weights, tokenizer: TextTokenizer, precision: Precision) -> Path:
    """Return the cached folder of a converted model; convert and check the model if the folder does not exist."""

    def build(folder: Path) -> None:
        import openvino

        _log.info("Converting the model in %s to OpenVINO (%s).", weights.directory, precision)
        original = load_sentence_transformer(weights.directory, "cpu")
        try:
            converted = _convert(original)
        except (MemoryError, OSError):
            raise
        except Exception as error:
            reason: str | None = f"its conversion failed with {type(error).__name__}"
        else:
            reason = _difference(OpenVinoBackend(converted, tokenizer, precision), original)
        if reason is None:
            try:
                openvino.save_model(converted, folder / _MODEL_FILE, compress_to_fp16=False)
            except RuntimeError as error:
                # OpenVINO does not say why; the usual cause is a device without space.
                raise OSError(errno.EIO, "OpenVINO could not write the converted model") from error
        else:
            (folder / _REJECTED_FILE).write_text(reason, encoding="utf-8")

    # The converted model contains neither the tokenizer nor the maximum length, but the check depends on them.
    configuration = hashlib.sha256(b"".join(file.read_bytes() for file in configuration_files(weights.directory)))
    versions = f"openvino{version('openvino')}-{precision}-{_FORMAT}"
    return build_once(
        cache_folder("openvino", f"{weights.sha256[:16]}-{configuration.hexdigest()[:8]}-{versions}"), build
    )


def _compilation_folder(
    folder: Path, tokenizer: TextTokenizer, precision: Precision, threads: int | None, processor: object
) -> Path | None:
    """Return the folder of the model as compiled for this processor, which makes a start a quarter of a second faster.

    OpenVINO writes its cache non-atomically, so another process could read an incomplete file. `build_once` prevents
    that. Return None if the folder cannot be written.
    """
    machine = hashlib.sha256(repr((processor, threads)).encode()).hexdigest()[:8]

    def build(unfinished: Path) -> None:
        OpenVinoBackend(folder / _MODEL_FILE, tokenizer, precision, threads, unfinished)

    try:
        return build_once(folder / machine, build)
    except ModelError:
        return None


def _convert(original: "SentenceTransformer") -> Any:
    import openvino
    import torch
    from transformers.utils.logging import get_verbosity, set_verbosity, set_verbosity_error

    class Traced(torch.nn.Module):
        """All modules of the model in one graph, from token ids and attention mask to sentence vectors."""

        def __init__(self) -> None:
            super().__init__()
            self.model = original

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]

    # Two rows of different length, so that the tracer does not treat shape or mask as constants.
    ids = torch.ones((2, 8), dtype=torch.int64)
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    verbosity = get_verbosity()
    set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # The tracer warns of every Python condition. `_difference` detects a condition that changes the result.
            warnings.simplefilter("ignore")
            return openvino.convert_model(
                Traced().eval(),
                example_input={"input_ids": ids, "attention_mask": mask},
                input=[("input_ids", [-1, -1]), ("attention_mask", [-1, -1])],
            )
    finally:
        set_verbosity(verbosity)


def _difference(backend: OpenVinoBackend, original: "SentenceTransformer") -> str | None:
    """Return a clause that says how far the vectors of the samples differ from PyTorch's; None within the tolerance."""
    vectors = backend.encode(_SAMPLES).vectors
    expected = np.asarray(original.encode(_SAMPLES, show_progress_bar=False))
    distances = np.linalg.norm(vectors - expected, axis=1) / np.linalg.norm(expected, axis=1)
    # With this comparison, NaN counts as a difference.
    if (distances <= _MAX_RELATIVE_DISTANCE).all():
        return None
    return f"OpenVINO's vectors differ from PyTorch's by up to {distances.max():.4f} of their length"
