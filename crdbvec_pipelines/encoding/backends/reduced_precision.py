"""Loading a model with half the bits of each weight, if its vectors stay right: GPUs compute it much faster."""

import logging
from typing import TYPE_CHECKING, Literal

import numpy as np

from crdbvec_pipelines.encoding.backends import Vectors
from crdbvec_pipelines.encoding.backends.sentence_model import encode_texts, load_sentence_transformer
from crdbvec_pipelines.encoding.backends.variant import Role, Variant
from crdbvec_pipelines.encoding.backends.vector_comparison import SAMPLES, compare_vectors
from crdbvec_pipelines.encoding.weights import Weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# float16 rounds less than bfloat16, but overflows above 65,504.
_CANDIDATES: tuple[Literal["f16", "bf16"], ...] = ("f16", "bf16")

_log = logging.getLogger(__name__)


def load_reduced(weights: Weights, device: str, variant: Variant | None, role: Role) -> "SentenceTransformer":
    """Load a model in float16, else in bfloat16, else in float32: the first in which its vectors are right.

    The vectors of some texts are compared with those in float32. A model without texts is loaded in float16.

    Args:
        weights: The folder and the digest of the model.
        device: The device to compute on.
        variant: What is changed about the model.
        role: The role of the texts.

    Raises:
        ModelError: The folder cannot be loaded, or the device does not exist.
    """
    model = load_sentence_transformer(weights.directory, device, variant)
    if "text" not in model.modalities:
        return model.half()
    expected = _encode(model, role)
    # A text without tokens has no vector: sentence-transformers returns NaN or zeros.
    has_vector = np.isfinite(expected).all(axis=1) & expected.any(axis=1)
    for precision in _CANDIDATES:
        reduced = model.half() if precision == "f16" else model.bfloat16()
        if compare_vectors(_encode(reduced, role)[has_vector], expected[has_vector], precision).is_exact:
            return reduced
        # Half of the bits of each weight are lost.
        model = load_sentence_transformer(weights.directory, device, variant)
    _log.warning("The model in %s is computed in float32: its vectors are wrong with fewer bits.", weights.directory)
    return model


def _encode(model: "SentenceTransformer", role: Role) -> Vectors:
    return np.asarray(encode_texts(model, SAMPLES, "", role), np.float32)
