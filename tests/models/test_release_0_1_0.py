"""The wrappers of release 0.1.0, which users have copied into their projects: they load, with the same model ids."""

from pathlib import Path

import pytest

from crdbvec_pipelines.encoding import ModelRegistry

WRAPPERS = Path(__file__).parent / "release_0_1_0"
# Literal values that release 0.1.0 returned. Rows were embedded with these ids; another id makes all of them pending.
IDS = {
    "color_histogram": ("color_histogram-rgb-4x4x4-l2-v1", 64),
    "hf_st_all_minilm_l6": ("sentence-transformers/all-MiniLM-L6-v2@53aa51172d14-mean-256-normalized", 384),
    "openai_compatible": ("openai:text-embedding-3-small-256", 256),
}
SETTINGS: dict[str, dict[str, object]] = {
    "openai_compatible": {"base_url": "http://localhost/v1", "model": "text-embedding-3-small", "dimensions": 256}
}


def test_all_wrappers_of_the_release_are_tested() -> None:
    assert {path.stem for path in WRAPPERS.glob("*.py")} == set(IDS)


@pytest.mark.parametrize("name", IDS)
def test_copied_wrapper_loads_with_the_same_id(name: str) -> None:
    registry = ModelRegistry([WRAPPERS], SETTINGS)
    assert registry.find(name).path == WRAPPERS / f"{name}.py"
    encoder = registry.load(name)
    assert (encoder.model_id, encoder.dim) == IDS[name]


@pytest.mark.parametrize("name", IDS)
def test_built_in_wrapper_has_the_same_id(name: str) -> None:
    encoder = ModelRegistry(settings=SETTINGS).load(name)
    assert (encoder.model_id, encoder.dim) == IDS[name]


def test_copied_wrapper_encodes() -> None:
    settings = {"hf_st_all_minilm_l6": {"backend": "torch", "device": "cpu"}}
    encoded = ModelRegistry([WRAPPERS], settings).load("hf_st_all_minilm_l6").encode([(1, "an entity")])
    assert encoded.vectors.shape == (1, 384)
