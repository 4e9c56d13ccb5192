"""Models to arrays: the layer that finds model wrappers and turns inputs into vectors.

Only the public names live here. Nothing in this layer knows of SQL or of Dagster, and nothing heavy (torch,
sentence-transformers, openvino, tokenizers, httpx) is imported before a model is asked to encode.
"""

from crdbvec_pipelines.encoding.encoder import EncodedBatch, Encoder
from crdbvec_pipelines.encoding.errors import (
    EncoderUnavailable,
    EncodingError,
    InputRefused,
    InputTooLong,
    ModelError,
)
from crdbvec_pipelines.encoding.registry import ModelRegistry

__all__ = [
    "EncodedBatch",
    "Encoder",
    "EncoderUnavailable",
    "EncodingError",
    "InputRefused",
    "InputTooLong",
    "ModelError",
    "ModelRegistry",
]
