"""Any server that speaks OpenAI's `/v1/embeddings`: OpenAI itself, TEI, vLLM, Ollama. Configured by the environment."""

from crdbvec_pipelines.encoding.openai_model import OpenAIModel

_MODEL = OpenAIModel()


def embedding_label() -> str:
    """Return one line for the list of models."""
    return "Any server with OpenAI's /v1/embeddings (OpenAI, TEI, vLLM, Ollama)"


def embedding_description() -> str:
    """Return what a user has to know to choose this model."""
    return (
        "Text embeddings from a server that speaks OpenAI's /v1/embeddings: OpenAI, Text Embeddings Inference, vLLM, "
        "Ollama. Texts are sent to that server. Set CRDBVEC_OPENAI_BASE_URL (as http://localhost:8080/v1), "
        "CRDBVEC_OPENAI_MODEL and, where the server wants one, CRDBVEC_OPENAI_API_KEY. The dimension, the language and "
        "the limits are the model's; what is too long is refused or cut by the server. "
        "https://platform.openai.com/docs/api-reference/embeddings"
    )


embedding_dim = _MODEL.dim
embedding_encode = _MODEL.encode_one
embedding_encode_batch = _MODEL.encode_batch
embedding_configure = _MODEL.configure
embedding_id = _MODEL.id
embedding_is_thread_safe = _MODEL.is_thread_safe
embedding_backend = _MODEL.backend
