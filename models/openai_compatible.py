"""Any server with OpenAI's `/v1/embeddings` API: OpenAI, TEI, vLLM, Ollama. Configured by environment variables."""

from crdbvec_pipelines.encoding.models import OpenAIModel

_MODEL = OpenAIModel()


def embedding_label() -> str:
    """Return the line that the list of models shows."""
    return "Any server with OpenAI's /v1/embeddings API (OpenAI, TEI, vLLM, Ollama)"


def embedding_description() -> str:
    """Return purpose, settings, limits and a link."""
    return (
        "Text embeddings from a server with OpenAI's /v1/embeddings API: OpenAI, Text Embeddings Inference, vLLM, "
        "Ollama. Texts are sent to that server. Set CRDBVEC_OPENAI_BASE_URL (for example http://localhost:8080/v1), "
        "CRDBVEC_OPENAI_MODEL and, if the server requires it, CRDBVEC_OPENAI_API_KEY. Dimension, language and limits "
        "depend on the model; the server rejects or truncates texts that are too long. "
        "https://platform.openai.com/docs/api-reference/embeddings"
    )


embedding_dim = _MODEL.dim
embedding_encode = _MODEL.encode_one
embedding_encode_batch = _MODEL.encode_batch
embedding_configure = _MODEL.configure
embedding_id = _MODEL.id
embedding_is_thread_safe = _MODEL.is_thread_safe
embedding_backend = _MODEL.backend
