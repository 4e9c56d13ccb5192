"""all-MiniLM-L6-v2, for English text. To use another sentence-transformers model, copy this file and edit the copy."""

from crdbvec_pipelines.encoding.models import SentenceTransformerModel, WeightsPackage

_MODEL = SentenceTransformerModel(
    "sentence-transformers/all-MiniLM-L6-v2",
    dim=384,
    # Optional. Without a package, the weights come from the Hugging Face hub.
    package=WeightsPackage(
        "all_minilm_l6_v2", "model.zip", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    ),
)


def embedding_label() -> str:
    """Return the line that the list of models shows."""
    return "Hugging Face Sentence Transformer all-MiniLM-L6-v2"


def embedding_description() -> str:
    """Return purpose, dimension, language, limits and a link."""
    return (
        "General-purpose English sentence embedding model based on MiniLM. Optimized for semantic similarity, "
        "clustering, and retrieval tasks. Produces 384-dimensional float vectors of length 1 from the first 256 tokens "
        "of a text. Not multilingual. https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"
    )


embedding_dim = _MODEL.dim
embedding_encode = _MODEL.encode
embedding_encode_batch = _MODEL.encode_batch
embedding_configure = _MODEL.configure
embedding_id = _MODEL.id
embedding_tokens = _MODEL.tokens
embedding_token_spans = _MODEL.token_spans
embedding_backend = _MODEL.backend
