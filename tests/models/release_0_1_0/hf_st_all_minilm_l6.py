"""all-MiniLM-L6-v2, for English text; for another sentence-transformers model, copy this file under another name."""

from crdbvec_pipelines.encoding.sentence_transformer import SentenceTransformerModel
from crdbvec_pipelines.encoding.weights import WeightsPackage

_MODEL = SentenceTransformerModel(
    "sentence-transformers/all-MiniLM-L6-v2",
    dim=384,
    # Optional: without it the weights come from the hub.
    package=WeightsPackage(
        "all_minilm_l6_v2", "model.zip", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    ),
)


def embedding_label() -> str:
    """Return one line for the list of models."""
    return "Hugging Face Sentence Transformer all-MiniLM-L6-v2"


def embedding_description() -> str:
    """Return what a user has to know to choose this model."""
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
embedding_backend = _MODEL.backend
