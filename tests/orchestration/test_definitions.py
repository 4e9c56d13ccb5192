"""Definitions load without a database and without a model; an invalid configuration is reported with its entry."""

import os
import shutil
import sys
from pathlib import Path

import dagster as dg
import pytest

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.config import load_config, parse_config
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.build import build_definitions
from tests.orchestration.project import UNUSED_URL, configuration
from tests.support.processes import ROOT, run, run_python

HEAVY = {"torch", "transformers", "sentence_transformers", "openvino", "tokenizers", "onnxruntime", "pandas"}
FILES = ("workspace.yaml", "dagster.yaml", "crdbvec.yaml", "pyproject.toml")


def imported(source: str, modules: set[str], **variables: str) -> str:
    """Return which of the modules are loaded after Python source has run in its own process."""
    return run_python(f"{source}\nimport sys; print(sorted({modules!r} & set(sys.modules)))", ROOT, **variables)


def test_importing_the_package_imports_no_dependency() -> None:
    dependencies = {"dagster", "psycopg", "pydantic", "numpy", "yaml", "click", "rich"}
    assert imported("import crdbvec_pipelines", HEAVY | dependencies) == "[]\n"


def test_definitions_load_without_database_and_without_model() -> None:
    source = (
        "from crdbvec_pipelines.definitions import defs\n"
        "import dagster as dg\n"
        "dg.Definitions.validate_loadable(defs())\n"
    )
    assert "CRDBVEC_URL" not in os.environ
    assert imported(source, HEAVY, CRDBVEC_CONFIG=str(bundled("crdbvec.yaml"))) == "[]\n"


def test_definitions_load_without_a_warning() -> None:
    source = (
        "import warnings\n"
        "import dagster as dg\n"
        "from crdbvec_pipelines.definitions import defs\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    dg.Definitions.validate_loadable(defs())\n"
        "print([str(each.message) for each in caught])"
    )
    config = str(bundled("crdbvec.yaml"))
    assert run_python(source, ROOT, CRDBVEC_CONFIG=config) == "[]\n"


def test_each_column_has_its_assets_and_jobs() -> None:
    config = configuration(UNUSED_URL, {}, {"output": "other", "model": "stub_hash"})
    definitions = build_definitions(config)
    dg.Definitions.validate_loadable(definitions)
    keys = {"/".join(key.path) for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert keys >= {"public/passage", "public/passage/passage_vector", "public/passage/other"}
    jobs = {job.name for job in definitions.resolve_all_job_defs()}
    for column in ("passage_vector", "other"):
        assert {f"{column}__{action}" for action in ("encode", "encode_in_process", "sync_partitions")} <= jobs


def test_asset_has_the_metadata_of_its_entry() -> None:
    definitions = build_definitions(configuration(UNUSED_URL))
    spec = definitions.resolve_assets_def(dg.AssetKey(["public", "passage", "passage_vector"])).specs_by_key
    (asset,) = spec.values()
    assert asset.group_name == "passage"
    assert asset.kinds == {"sql", "python"}
    assert asset.metadata["dagster/table_name"] == "public.passage"
    assert {name: asset.metadata[name] for name in ("model", "input", "output", "staleness")} == {
        "model": "stub_counting",
        "input": "passage",
        "output": "passage_vector",
        "staleness": "fingerprint",
    }


def test_assets_refer_to_their_entry_and_to_the_wrapper_of_their_model(tmp_path: Path) -> None:
    file = tmp_path / "crdbvec.yaml"
    file.write_text(
        "models: {directories: [wrappers]}\n"
        "vectors:\n"
        "  - {table: a, input: i, output: o, model: own, index: {}}\n"
        "\n"
        "  - {table: b, input: i, output: o, model: own}\n",
        encoding="utf-8",
    )
    wrapper = tmp_path / "wrappers" / "own.py"
    wrapper.parent.mkdir()
    wrapper.touch()
    specs = {spec.key.to_user_string(): spec for spec in build_definitions(load_config(file)).resolve_all_asset_specs()}
    for key, line in {"public/a/o": 3, "public/a/o_index": 3, "public/b/o": 5}.items():
        references = specs[key].metadata["dagster/code_references"].code_references
        assert [(each.file_path, each.line_number) for each in references] == [(str(file), line), (str(wrapper), 1)]


def test_steps_of_a_column_are_in_its_pool() -> None:
    definitions = build_definitions(configuration(UNUSED_URL, {"pool": "gpu", "index": {}}))
    graph = definitions.resolve_asset_graph()
    pools = {key.to_user_string(): graph.get(key).pools for key in graph.executable_asset_keys}
    assert pools == {"public/passage/passage_vector": {"gpu"}, "public/passage/passage_vector_index": {"gpu"}}


def test_unknown_model_is_reported_with_its_entry_when_definitions_load() -> None:
    config = configuration(UNUSED_URL, {}, {"output": "other", "model": "stub_cuonting"})
    with pytest.raises(
        ConfigurationError, match=r"^crdbvec\.yaml: vectors\[1\]\.model: The model 'stub_cuonting' does not exist"
    ):
        build_definitions(config)


@pytest.fixture
def checkout(folder: Path) -> Path:
    """A folder with the files at the top of a checkout that Dagster reads."""
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def validate(checkout: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = run(command, checkout, {"DAGSTER_HOME": str(checkout)})
    return done.returncode, done.stdout + done.stderr


def test_workspace_of_a_checkout_is_valid(checkout: Path) -> None:
    code, output = validate(checkout)
    assert code == 0, output
    assert "All code locations passed validation" in output


def test_dagster_shows_the_message_for_an_invalid_configuration(checkout: Path) -> None:
    (checkout / "crdbvec.yaml").write_text("vectors: [{table: t, input: i, outptu: o, model: m}]", encoding="utf-8")
    code, output = validate(checkout)
    assert code == 1
    assert "crdbvec.yaml: vectors[0].outptu: there is no such key; did you mean output?" in output


def test_columns_of_several_databases_have_resources_and_names_of_their_own() -> None:
    entry = {"table": "public.passage", "input": "body", "output": "body_vector", "model": "hf_st_all_minilm_l6"}
    databases = {"archive": {"url": {"env": "ARCHIVE_URL"}}}
    config = parse_config({"databases": databases, "vectors": [entry, {**entry, "database": "archive"}]}, "test", ROOT)
    definitions = build_definitions(config)
    repository = definitions.get_repository_def()
    keys = {key.to_user_string() for key in repository.assets_defs_by_key}
    assert {"public/passage/body_vector", "archive/public/passage/body_vector", "archive/public/passage"} <= keys
    assert {"body_vector__encode", "archive__body_vector__encode"} <= set(repository.job_names)
    resources = definitions.resources or {}
    assert {resources[key].url for key in ("cockroach", "cockroach_for_ticks")} == {dg.EnvVar("CRDBVEC_URL")}
    assert {resources[key].url for key in ("archive", "archive_for_ticks")} == {dg.EnvVar("ARCHIVE_URL")}
    archived = repository.assets_defs_by_key[dg.AssetKey(["archive", "public", "passage", "body_vector"])]
    assert archived.required_resource_keys >= {"archive"}
