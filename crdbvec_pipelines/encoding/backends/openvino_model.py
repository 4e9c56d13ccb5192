"""Conversion of models to OpenVINO by trial, and the check of the result against sentence-transformers.

All modules of a model are converted into one graph, so pooling, Dense modules, truncation and normalization are not
reimplemented here. Nothing is decided by a list of architectures: a conversion is used if its vectors are right.
Converted models are stored in the cache folder, with the result of the check. Only a conversion imports torch.
"""

import errno
import hashlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crdbvec_pipelines.encoding.backends.inspection import Inspection, role_tokenizer
from crdbvec_pipelines.encoding.backends.openvino import OpenVinoBackend, Precision, import_openvino
from crdbvec_pipelines.encoding.backends.sentence_model import encode_texts, load_sentence_transformer, role_arguments
from crdbvec_pipelines.encoding.backends.tokens import TextTokenizer
from crdbvec_pipelines.encoding.backends.variant import Role, Variant
from crdbvec_pipelines.encoding.backends.vector_comparison import SAMPLES, VectorComparison, compare_vectors
from crdbvec_pipelines.encoding.cache_folder import build_once, cache_folder
from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.weights import Weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Part of the folder name. It changes with the conversion, so that no process reads the result of another version.
_FORMAT = "2"
_MODEL_FILE = "model.xml"
_CHECK_FILE = "check.json"
# Contains the reason if the conversion was rejected; the folder then has no model. Release 0.1.0 wrote the same name.
_REJECTED_FILE = "refused.txt"
# More than all samples have, so that the shortest is padded to the length of the longest.
_ONE_BATCH = 10_000_000

_log = logging.getLogger(__name__)


class InexactConversion(Exception):
    """No conversion computes the vectors of sentence-transformers; the message is a clause that says why."""


@dataclass(frozen=True, slots=True)
class ConversionCheck(VectorComparison):
    """The comparison of a converted model with sentence-transformers in float32.

    Attributes:
        method: How the model was converted: `trace` or `torch.export`.
    """

    method: str

    @property
    def sentence(self) -> str:
        """The result, for users."""
        return (
            f"OpenVINO in {self.precision}, converted by {self.method}; smallest cosine similarity to "
            f"sentence-transformers {self.cosine:.5f}, centered {self.centered_cosine:.5f}."
        )


def load_openvino(
    weights: Weights,
    inspection: Inspection,
    variant: Variant,
    role: Role,
    threads: int | None,
    full_precision: bool,
) -> OpenVinoBackend:
    """Load a model in the fastest precision that preserves its vectors; convert it first if it is not in the cache.

    Args:
        weights: The folder and the digest of the model.
        inspection: What is known about the model.
        variant: What is changed about it.
        role: The role whose texts are encoded.
        threads: The maximum number of processor threads; None for all.
        full_precision: Whether to use float32 even if the processor multiplies faster in bfloat16.

    Returns:
        The backend.

    Raises:
        InexactConversion: No conversion computes the right vectors.
        ModelError: PyTorch cannot load the model, or the cache folder cannot be written.
    """
    core = import_openvino().Core()
    # float16 and int8 are not candidates: float16 was slower than float32 on AVX-512, int8 changes the vectors.
    candidates: list[Precision] = ["f32"]
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if not full_precision and "BF16" in capabilities:
        candidates.insert(0, "bf16")
    if inspection.role(role).kind != "transformer" or inspection.excludes_prompt:
        raise InexactConversion(
            "its pooling excludes the prompt" if inspection.excludes_prompt else "its tokenizer has no tokenizer.json"
        )
    tokenizer = role_tokenizer(inspection, role)
    for precision in candidates:
        folder = _conversion_folder(weights, inspection, variant, role, tokenizer, precision)
        if not (folder / _REJECTED_FILE).is_file():
            processor = (core.get_property("CPU", "FULL_DEVICE_NAME"), capabilities)
            cache = _compilation_folder(folder, tokenizer, precision, threads, processor)
            return OpenVinoBackend(folder / _MODEL_FILE, tokenizer, precision, threads, cache)
    raise InexactConversion((folder / _REJECTED_FILE).read_text(encoding="utf-8"))


def conversion_results(inspection: Inspection, role: Role) -> list[str]:
    """Return what the checks of the conversions on this machine have found, as sentences; nothing is converted.

    Without OpenVINO there are none.
    """
    if importlib.util.find_spec("openvino") is None:
        return []
    results = []
    precisions: tuple[Precision, ...] = ("bf16", "f32")
    for precision in precisions:
        folder = _folder(inspection, role, precision)
        if (folder / _CHECK_FILE).is_file():
            content = json.loads((folder / _CHECK_FILE).read_text(encoding="utf-8"))
            results.append(ConversionCheck(**content).sentence)
        elif (folder / _REJECTED_FILE).is_file():
            reason = (folder / _REJECTED_FILE).read_text(encoding="utf-8")
            results.append(f"OpenVINO in {precision} is not used: {reason}.")
    return results


def _folder(inspection: Inspection, role: Role, precision: Precision) -> Path:
    own = role if role in inspection.roles else "document"
    name = f"{inspection.key}-{own}-openvino{version('openvino')}-{precision}-{_FORMAT}"
    return cache_folder("openvino", name)


def _conversion_folder(
    weights: Weights,
    inspection: Inspection,
    variant: Variant,
    role: Role,
    tokenizer: TextTokenizer,
    precision: Precision,
) -> Path:
    """Return the cached folder of a converted model; convert and check the model if the folder does not exist."""

    def build(folder: Path) -> None:
        _log.info("Converting the model in %s to OpenVINO (%s).", weights.directory, precision)
        original = load_sentence_transformer(weights.directory, "cpu", variant, eager=True)
        prompt = inspection.prompts[role]
        # A text without tokens has no vector: sentence-transformers returns NaN or that of the padding.
        lengths = tokenizer.tokenize([prompt + sample for sample in SAMPLES]).lengths
        samples = [sample for sample, length in zip(SAMPLES, lengths, strict=True) if length]
        expected = np.asarray(encode_texts(original, samples, prompt, role), np.float32)
        reasons = []
        for method, convert in (("trace", _trace), ("torch.export", _export)):
            try:
                converted = _convert(original, role, convert, has_mask=inspection.role(role).has_mask)
                backend = OpenVinoBackend(converted, tokenizer, precision)
                found = backend.encode(samples, prompt, _ONE_BATCH).vectors
            except MemoryError:
                raise
            except Exception as error:
                reasons.append(f"its conversion by {method} failed with {type(error).__name__}")
                continue
            check = ConversionCheck(**asdict(compare_vectors(found, expected, precision)), method=method)
            if check.is_exact:
                _save(converted, folder)
                (folder / _CHECK_FILE).write_text(json.dumps(asdict(check)), encoding="utf-8")
                return
            reasons.append(
                f"the vectors of OpenVINO, converted by {method}, differ from those of PyTorch (smallest cosine "
                f"similarity {check.cosine:.5f}, centered {check.centered_cosine:.5f})"
            )
        (folder / _REJECTED_FILE).write_text("; ".join(reasons), encoding="utf-8")

    return build_once(_folder(inspection, role, precision), build)


def _save(converted: Any, folder: Path) -> None:
    try:
        import_openvino().save_model(converted, folder / _MODEL_FILE, compress_to_fp16=False)
    except RuntimeError as error:
        # OpenVINO does not say why; the usual cause is a device without space.
        raise OSError(errno.EIO, "OpenVINO could not write the converted model") from error


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


def _convert(
    original: "SentenceTransformer", role: Role, convert: Callable[[Any, dict[str, Any]], Any], *, has_mask: bool
) -> Any:
    """Convert all modules of a model into one graph, from token ids and attention mask to vectors of texts."""
    import torch
    from transformers.utils.logging import get_verbosity, set_verbosity, set_verbosity_error

    arguments = role_arguments(original, role)

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = original

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Any:
            features: dict[str, Any] = {"input_ids": input_ids, "modality": "text"}
            if attention_mask is not None:
                features["attention_mask"] = attention_mask
            return self.model(features, **arguments)["sentence_embedding"]

    # Two rows of different length, so that the tracer does not treat shape or mask as constants.
    example = {"input_ids": torch.ones((2, 8), dtype=torch.int64)}
    if has_mask:
        example["attention_mask"] = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    verbosity = get_verbosity()
    set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with torch.no_grad(), warnings.catch_warnings(), _kept_root_logger():
            # The tracer warns of every Python condition. The check detects a condition that changes the result.
            warnings.simplefilter("ignore")
            return convert(Graph().eval(), example)
    finally:
        set_verbosity(verbosity)


@contextmanager
def _kept_root_logger() -> Iterator[None]:
    """Restore the root logger at the end: a conversion that fails leaves it at the level ERROR."""
    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers


def _trace(graph: Any, example: dict[str, Any]) -> Any:
    inputs = [(name, [-1, -1]) for name in example]
    return import_openvino().convert_model(graph, example_input=example, input=inputs)


def _export(graph: Any, example: dict[str, Any]) -> Any:
    import torch

    rows, length = torch.export.Dim("rows", min=1, max=65_536), torch.export.Dim("length", min=2, max=131_072)
    shapes = {name: {0: rows, 1: length} for name in example}
    exported = torch.export.export(graph, args=(), kwargs=example, dynamic_shapes=shapes, strict=False)
    return import_openvino().convert_model(exported)
