"""What the tests of the built-in models share: a registry as a user without a configuration has it."""

import pytest

from crdbvec_pipelines.encoding import ModelRegistry


@pytest.fixture
def registry() -> ModelRegistry:
    return ModelRegistry()
