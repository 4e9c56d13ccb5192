"""What makes a module a model."""

from types import ModuleType

import pytest

from crdbvec_pipelines.encoding import ModelError
from crdbvec_pipelines.encoding.contract import REQUIRED, check_module


def _module(**members: object) -> ModuleType:
    module = ModuleType("wrapper")
    vars(module).update(dict.fromkeys(REQUIRED, len) | members)
    return module


def test_five_functions_make_a_model() -> None:
    module = _module()
    assert check_module(module, "wrapper.py") is module


def test_missing_functions_are_named_with_the_file() -> None:
    module = _module()
    del module.embedding_dim, module.embedding_encode
    with pytest.raises(ModelError, match=r"^wrapper\.py is not a model: it lacks embedding_dim, embedding_encode\. "):
        check_module(module, "wrapper.py")


@pytest.mark.parametrize("name", ["embedding_dim", "embedding_metric"])
def test_a_constant_is_not_a_function(name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} must be a function"):
        check_module(_module(**{name: "cosine"}), "wrapper.py")
