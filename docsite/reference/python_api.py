"""The public Python interface, from its docstrings, which the plugin mkdocstrings renders."""

import crdbvec_pipelines
from crdbvec_pipelines import _MODULES

_HEAD = """\
# Python

What `crdbvec_pipelines.__all__` names, and the vector stores. [Use as a library](../library.md) has examples and says
which names are stable; [models](../models.md#writing-a-model-wrapper) has the functions of a model wrapper.
"""
_INTEGRATIONS = {
    "crdbvec_pipelines.integrations.langchain": ("CrdbvecVectorStore",),
    "crdbvec_pipelines.integrations.llama_index": ("CrdbvecVectorStore", "CrdbvecRetriever"),
}


def python_api() -> str:
    """Return the page."""
    names = [name for name in crdbvec_pipelines.__all__ if not name.startswith("__")]
    # Functions and what they return first; the errors have a page of their own, too.
    names.sort(key=lambda name: ("errors" in _MODULES[name], name not in ("open_column", "Column"), name))
    entries = [f"crdbvec_pipelines.{_MODULES[name]}.{name}" for name in names]
    entries += [f"{module}.{name}" for module, classes in _INTEGRATIONS.items() for name in classes]
    return _HEAD + "".join(f"\n::: {entry}\n" for entry in entries)
