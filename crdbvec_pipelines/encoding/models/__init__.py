"""What model wrappers delegate to: sentence-transformers models, and models on servers with `/v1/embeddings`.

Importing this package imports neither torch nor httpx.
"""

from crdbvec_pipelines.encoding.models.openai_model import OpenAIModel
from crdbvec_pipelines.encoding.models.sentence_transformer import SentenceTransformerModel
from crdbvec_pipelines.encoding.weights import WeightsPackage

__all__ = ["OpenAIModel", "SentenceTransformerModel", "WeightsPackage"]
