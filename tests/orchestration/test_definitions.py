"""What Dagster loads: without a database, without a model, quickly; and what it says when something is wrong."""

import os
import shutil
import sys
from pathlib import Path

import dagster as dg
import pytest

from crdbvec_pipelines.bundled import bundled
from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.build import build_definitions
from tests.orchestration.stored import configuration
from tests.support.processes import ROOT, run, run_python

HEAVY = {"torch", "transformers", "sentence_transformers", "openvino", "tokenizers", "onnxruntime", "pandas"}
FILES = ("workspace.yaml", "dagster.yaml", "crdbvec.yaml", "pyproject.toml")


def imported(source: str, modules: set[str], **variables: str) -> str:
    """Which of the modules are loaded after running Python source in a process of its own."""
    return run_python(f"{source}\nimport sys; print(sorted({modules!r} & set(sys.modules)))", ROOT, **variables)


def test_importing_the_package_imports_nothing_heavy() -> None:
    ours = {"dagster", "psycopg", "pydantic", "numpy", "yaml", "click", "rich"}
    assert imported("import crdbvec_pipelines", HEAVY | ours) == "[]\n"


def test_definitions_load_without_database_and_without_model() -> None:
    source = (
        "from crdbvec_pipelines.definitions import defs\n"
        "import dagster as dg\n"
        "dg.Definitions.validate_loadable(defs())\n"
    )
    assert "CRDBVEC_URL" not in os.environ
    assert imported(source, HEAVY, CRDBVEC_CONFIG=str(bundled("crdbvec.yaml"))) == "[]\n"


def test_each_column_has_its_assets_and_jobs() -> None:
    config = configuration("postgresql://nobody@localhost/none", {}, {"output": "other", "model": "stub_hash"})
    definitions = build_definitions(config)
    dg.Definitions.validate_loadable(definitions)
    keys = {"/".join(key.path) for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert keys >= {"public/passage", "public/passage/passage_vector", "public/passage/other"}
    jobs = {job.name for job in definitions.resolve_all_job_defs()}
    for column in ("passage_vector", "other"):
        assert {f"{column}__{action}" for action in ("encode", "encode_in_process", "sync_partitions")} <= jobs


def test_the_asset_says_what_it_is_made_of() -> None:
    definitions = build_definitions(configuration("postgresql://nobody@localhost/none"))
    spec = definitions.resolve_assets_def(dg.AssetKey(["public", "passage", "passage_vector"])).specs_by_key
    (asset,) = spec.values()
    assert asset.group_name == "passage"
    assert asset.kinds == {"cockroachdb", "python"}
    assert asset.metadata["dagster/table_name"] == "public.passage"
    assert {name: asset.metadata[name] for name in ("model", "input", "output", "staleness")} == {
        "model": "stub_counting",
        "input": "passage",
        "output": "passage_vector",
        "staleness": "fingerprint",
    }


def test_an_unknown_model_is_told_with_the_entry_when_definitions_load() -> None:
    config = configuration("postgresql://nobody@localhost/none", {}, {"output": "other", "model": "stub_cuonting"})
    with pytest.raises(
        ConfigurationError, match=r"^crdbvec\.yaml: vectors\[1\]\.model: There is no model 'stub_cuonting'"
    ):
        build_definitions(config)


@pytest.fixture
def checkout(folder: Path) -> Path:
    """The files of a checkout's top that Dagster reads, in a folder of their own."""
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def validate(checkout: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = run(command, checkout, {"DAGSTER_HOME": str(checkout)})
    return done.returncode, done.stdout + done.stderr


def test_dagster_validates_the_workspace_of_a_checkout(checkout: Path) -> None:
    code, said = validate(checkout)
    assert code == 0, said
    assert "All code locations passed validation" in said


def test_dagster_tells_what_is_wrong_in_the_configuration(checkout: Path) -> None:
    (checkout / "crdbvec.yaml").write_text("vectors: [{table: t, input: i, outptu: o, model: m}]", encoding="utf-8")
    code, said = validate(checkout)
    assert code == 1
    assert "crdbvec.yaml: vectors[0].outptu: there is no such key; did you mean output?" in said
