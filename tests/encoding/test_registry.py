"""The registry: folders, built-in models, entry points, settings, and error messages."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crdbvec_pipelines.config import ProjectConfig, parse_config
from crdbvec_pipelines.encoding import ModelError, ModelRegistry
from crdbvec_pipelines.encoding.registry import check_models, load_registry

_ENTRY: dict[str, object] = {"table": "passage", "input": "body", "output": "v"}
BUILT_IN = ["color_histogram", "hf_st_all_minilm_l6", "openai_compatible"]


def _config(data: dict[str, object]) -> ProjectConfig:
    return parse_config(data, "crdbvec.yaml", Path("/"))


def test_built_in_models_are_found() -> None:
    assert ModelRegistry().names() == BUILT_IN


def test_folder_adds_models_except_private_files(write_wrapper: Callable[..., Path]) -> None:
    write_wrapper("_helper")
    write_wrapper("__init__")
    registry = ModelRegistry([write_wrapper("tiny")])
    assert registry.names() == sorted([*BUILT_IN, "tiny"])
    source = registry.find("tiny")
    assert source.path is not None
    assert source.path.name == "tiny.py"


def test_folder_takes_precedence_over_built_in_models(write_wrapper: Callable[..., Path]) -> None:
    assert ModelRegistry([write_wrapper("color_histogram")]).load("color_histogram").dim == 2


def test_find_does_not_import(write_wrapper: Callable[..., Path], tmp_path: Path) -> None:
    touched = tmp_path / "imported"
    registry = ModelRegistry([write_wrapper("tiny", f"open({str(touched)!r}, 'w').close()")])
    registry.find("tiny")
    assert not touched.exists()
    registry.load("tiny")
    assert touched.exists()


def test_load_returns_the_same_encoder_to_all_threads(write_wrapper: Callable[..., Path]) -> None:
    registry = ModelRegistry([write_wrapper("tiny", "import time; time.sleep(0.02)")])
    with ThreadPoolExecutor(4) as pool:
        encoders = set(pool.map(lambda _: registry.load("tiny"), range(4)))
    assert len(encoders) == 1
    assert registry.load("tiny", threads=1) not in encoders


def test_module_is_registered_under_its_own_name(write_wrapper: Callable[..., Path]) -> None:
    directory = write_wrapper("tiny", "from dataclasses import dataclass\n@dataclass\nclass Row: x: 'int' = 1\n")
    ModelRegistry([directory]).load("tiny")
    assert sys.modules["crdbvec_models.tiny"].__file__ == str(directory / "tiny.py")


def test_error_for_an_unknown_model_lists_the_models() -> None:
    with pytest.raises(ModelError, match="The model 'hf_st_all_minilm_16' does not exist") as caught:
        ModelRegistry().find("hf_st_all_minilm_16")
    assert "Available models: color_histogram, hf_st_all_minilm_l6, openai_compatible." in str(caught.value)
    assert str(caught.value).endswith("Did you mean hf_st_all_minilm_l6?")


def test_missing_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model folder .*nowhere does not exist"):
        ModelRegistry([tmp_path / "nowhere"]).names()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import a_missing_library", "ModuleNotFoundError: No module named 'a_missing_library'"),
        ("def broken(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_failed_import_of_a_wrapper_is_reported(write_wrapper: Callable[..., Path], source: str, message: str) -> None:
    registry = ModelRegistry([write_wrapper("broken", source)])
    with pytest.raises(ModelError, match=message) as caught:
        registry.load("broken")
    assert "broken.py" in str(caught.value)
    assert "crdbvec_models.broken" not in sys.modules


def test_incomplete_wrapper_is_rejected_on_load(write_wrapper: Callable[..., Path]) -> None:
    registry = ModelRegistry([write_wrapper("half", "def embedding_dim(): return 1", required=False)])
    with pytest.raises(ModelError, match=r"half\.py is not a model wrapper: it does not define embedding_label"):
        registry.load("half")


def test_entry_point_is_a_model(tmp_path: Path, write_wrapper: Callable[..., Path]) -> None:
    package = tmp_path / "site" / "team_models"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (write_wrapper("house") / "house.py").rename(package / "house.py")
    metadata = tmp_path / "site" / "team_models-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: team-models\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[crdbvec.models]\nhouse_model = team_models.house\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path / "site"))
        registry = ModelRegistry()
        assert "house_model" in registry.names()
        assert "team_models" not in sys.modules
        assert registry.load("house_model").encode([(1, "abc")]).vectors.tolist() == [[3, 1]]
        assert "team_models.house" in registry.find("house_model").origin


def test_wrapper_is_configured_once_before_other_calls(write_wrapper: Callable[..., Path]) -> None:
    extra = """
        calls = []
        def embedding_configure(settings): calls.append(dict(settings))
        def embedding_id(): return str(calls)
    """
    directory = write_wrapper("tiny", extra)
    registry = ModelRegistry([directory], {"tiny": {"size": 3}})
    assert registry.load("tiny").model_id == "[{'size': 3}]"
    assert registry.load("tiny", threads=2).model_id == "[{'size': 3}]"
    assert ModelRegistry([directory]).load("tiny").model_id == "[{}]"


def test_settings_for_a_model_without_settings_are_rejected(write_wrapper: Callable[..., Path]) -> None:
    registry = ModelRegistry([write_wrapper("tiny")], {"tiny": {"size": 3}})
    with pytest.raises(ModelError, match=r"has no settings, but models\.settings\.tiny contains 'size'"):
        registry.load("tiny")


def test_settings_rejected_by_the_wrapper_are_reported(write_wrapper: Callable[..., Path]) -> None:
    extra = "def embedding_configure(settings): raise ValueError('size must be even')"
    registry = ModelRegistry([write_wrapper("tiny", extra)], {"tiny": {"size": 3}})
    with pytest.raises(
        ModelError, match=r"rejects its settings \(models.settings.tiny\): ValueError: size must be even"
    ):
        registry.load("tiny")


def test_settings_of_an_unknown_model_are_rejected() -> None:
    with pytest.raises(
        ModelError, match=r"settings for the model 'colour_histogram', which.*Did you mean color_histogram\?"
    ):
        ModelRegistry(settings={"colour_histogram": {}}).names()


def test_registry_of_a_configuration(write_wrapper: Callable[..., Path]) -> None:
    extra = "def embedding_configure(settings): global size; size = settings['size']\ndef embedding_dim(): return size"
    models = {"directories": [str(write_wrapper("tiny", extra))], "settings": {"tiny": {"size": 3}}}
    registry = load_registry(_config({"models": models, "vectors": [_ENTRY | {"model": "tiny"}]}))
    assert registry.load("tiny").dim == 3
    assert load_registry(None).names() == BUILT_IN


def test_entry_with_an_unknown_model_is_named() -> None:
    config = _config({"vectors": [_ENTRY | {"model": "color_histogram"}, _ENTRY | {"output": "w", "model": "tiny"}]})
    with pytest.raises(
        ModelError, match=r"^crdbvec\.yaml: vectors\[1\]\.model: The model 'tiny' does not exist\. Available models: "
    ):
        check_models(config, load_registry(config))


def test_describing_models_imports_no_heavy_library(run_python: Callable[..., str]) -> None:
    loaded = run_python(
        """
        import sys
        from crdbvec_pipelines.encoding import ModelRegistry
        registry = ModelRegistry()
        for name in registry.names():
            encoder = registry.load(name)
            encoder.label, encoder.description, encoder.metric
        registry.load("hf_st_all_minilm_l6").dim
        heavy = {"torch", "sentence_transformers", "transformers", "openvino", "tokenizers", "httpx", "PIL", "dagster"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    assert loaded == "[]"
