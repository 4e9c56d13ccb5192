"""Vectors for the tests of the simulator."""

import pytest

from tests.support.embeddings import Glosses, Vectors, encode_glosses, mixture


@pytest.fixture(scope="package")
def glosses() -> Glosses:
    """The vectors of the glosses of the demo."""
    return encode_glosses(2_000, words=300)


@pytest.fixture(scope="package")
def topics() -> Vectors:
    """Generated vectors of 3,300 texts of 150 topics."""
    return mixture(3_300, 128)
