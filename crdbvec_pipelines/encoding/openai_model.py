"""The module path of release 0.1.0, kept for wrappers written for it; new ones import from `encoding.models`."""

from crdbvec_pipelines.encoding.models.openai_model import OpenAIModel

__all__ = ["OpenAIModel"]
