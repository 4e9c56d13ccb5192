"""The published weights of all-MiniLM-L6-v2, located without the built-in wrapper."""

from crdbvec_pipelines.encoding.weights import Weights, WeightsPackage, locate_weights

_PACKAGE = WeightsPackage(
    "all_minilm_l6_v2", "model.zip", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
)


def locate_minilm() -> Weights:
    """Return the model folder and the digest of its weights."""
    return locate_weights("sentence-transformers/all-MiniLM-L6-v2", _PACKAGE)
