"""From inputs to vectors: finding model wrappers, calling them, checking their results.

This module exports the public names. The layer contains no SQL and does not import Dagster. Heavy libraries (torch,
sentence-transformers, openvino, tokenizers, httpx) are imported only when a model is loaded.
"""

from crdbvec_pipelines.encoding.encoder import EncodedBatch, Encoder
from crdbvec_pipelines.encoding.errors import (
    EncoderUnavailable,
    EncodingError,
    InputRejected,
    InputTooLong,
    ModelError,
    RowsRejected,
)
from crdbvec_pipelines.encoding.reasons import Reason
from crdbvec_pipelines.encoding.registry import ModelRegistry

# The name of `InputRejected` in release 0.1.0, kept because users' model wrappers import it.
InputRefused = InputRejected

__all__ = [
    "EncodedBatch",
    "Encoder",
    "EncoderUnavailable",
    "EncodingError",
    "InputRefused",
    "InputRejected",
    "InputTooLong",
    "ModelError",
    "ModelRegistry",
    "Reason",
    "RowsRejected",
]
