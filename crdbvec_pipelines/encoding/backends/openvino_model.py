"""A sentence-transformers model as an OpenVINO one: whether it can be, and the conversion itself.

Tracing goes through sentence-transformers' own modules, so pooling and normalisation are theirs and not a rendering of
them. Converted models are kept in the cache folder; only a conversion imports torch.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crdbvec_pipelines.encoding.backends.torch import load_sentence_transformer
from crdbvec_pipelines.encoding.cache import build_once, cache_folder
from crdbvec_pipelines.encoding.pipeline import Pipeline, configuration_files
from crdbvec_pipelines.encoding.weights import Weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MODEL = "model.xml"
# What a cached folder holds instead of a model when the conversion did not keep the vectors.
REFUSED = "refused.txt"

# Raised when the conversion changes, so that no process reads what another version of this module made.
_FORMAT = "1"
# Encoders that attend to the whole text and need no other input than token numbers and a mask.
_ARCHITECTURES = frozenset({"albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"})
_MODULES = frozenset({("transformer", "pooling"), ("transformer", "pooling", "normalize")})
_POOLING = frozenset({"cls", "max", "mean", "mean_sqrt_len_tokens"})

_log = logging.getLogger(__name__)


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


def converted(weights: Weights, check: Callable[[Any, "SentenceTransformer"], str | None]) -> Path:
    """Return the cached folder of a model's conversion, made and checked now if it is not there yet.

    Args:
        weights: The model's folder and digest.
        check: Given the OpenVINO model and the original, says why the one cannot stand for the other, or None.

    Returns:
        A folder that holds `MODEL`, or else `REFUSED` with the reason.

    Raises:
        ModelError: PyTorch cannot load the model, or the cache folder cannot be written.
    """

    def build(folder: Path) -> None:
        import openvino

        _log.info("Converting the model in %s for OpenVINO, once.", weights.directory)
        original = load_sentence_transformer(weights.directory, "cpu")
        try:
            graph = _convert(original)
        except (MemoryError, OSError):
            raise
        except Exception as error:
            reason: str | None = f"its conversion failed with {type(error).__name__}"
        else:
            reason = check(graph, original)
        if reason is None:
            openvino.save_model(graph, folder / MODEL, compress_to_fp16=False)
        else:
            (folder / REFUSED).write_text(reason, encoding="utf-8")

    # The tokenizer and the window are not in the converted model, but the check depends on them.
    configuration = hashlib.sha256(b"".join(file.read_bytes() for file in configuration_files(weights.directory)))
    key = f"{weights.sha256[:16]}-{configuration.hexdigest()[:8]}-openvino{version('openvino')}-{_FORMAT}"
    return build_once(cache_folder("openvino", key), build)


def _convert(original: "SentenceTransformer") -> Any:
    import openvino
    import torch

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
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer warns of every Python condition that it passes; whether one mattered, the check finds out.
        warnings.simplefilter("ignore")
        return openvino.convert_model(
            Traced().eval(),
            example_input={"input_ids": ids, "attention_mask": mask},
            input=[("input_ids", [-1, -1]), ("attention_mask", [-1, -1])],
        )
