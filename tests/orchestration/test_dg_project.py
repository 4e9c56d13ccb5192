"""The example project in examples/dg_project, with the `dg` command: two databases, and a table asset of its own."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.orchestration.daemon import prepare_home
from tests.support.models import WRAPPERS
from tests.support.processes import ROOT, run
from tests.support.servers import Server

pytestmark = pytest.mark.timeout(900)

COMPONENT = "crdbvec_pipelines.orchestration.component.VectorColumns"


class DgProject:
    """A copy of the example project, with a stub as the model, and the environment of its commands."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.url = variables["CRDBVEC_URL"]
        path = os.pathsep.join(filter(None, [str(folder / "src"), os.environ.get("PYTHONPATH", str(ROOT))]))
        self._variables = {**variables, "PYTHONPATH": path, "DAGSTER_DISABLE_TELEMETRY": "1", "COLUMNS": "200"}
        for file in folder.glob("src/articles/defs/*/defs.yaml"):
            self.edit(file, "hf_st_all_minilm_l6", "stub_hash")
            self.edit(file, "  vectors:", f"  models: {{directories: [{WRAPPERS}]}}\n  vectors:")

    def edit(self, file: Path, old: str, new: str) -> None:
        """Replace a text in a file of the project."""
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def dg(self, *arguments: str) -> tuple[int, str]:
        """Run the command `dg` in the project, and return its exit code and output."""
        done = run(
            [sys.executable, "-c", "from dagster_dg_cli.cli import main; main()", *arguments],
            self.folder,
            self._variables,
        )
        return done.returncode, done.stdout + done.stderr

    def succeed(self, *arguments: str) -> str:
        """Run the command `dg`, which must succeed, and return its output."""
        code, output = self.dg(*arguments)
        assert code == 0, output
        return output


@pytest.fixture
def project(tmp_path: Path, postgres: Server) -> Iterator[DgProject]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(ROOT / "examples" / "dg_project", tmp_path / "project")
    with postgres.new_database() as url, postgres.new_database() as products, postgres.new_database() as storage:
        variables = prepare_home(home, tmp_path / "unused.yaml", url, storage)
        yield DgProject(tmp_path / "project", {**variables, "PRODUCTS_URL": products})


def test_two_databases_and_a_table_asset_of_the_project(project: DgProject) -> None:
    assert "validated successfully" in project.succeed("check", "yaml")
    project.succeed("check", "defs")
    found = json.loads(project.succeed("list", "defs", "--json"))
    assets = {each["asset_key"]: each for each in found["assets"]}
    assert {"analytics/article", "public/article/body_vector", "products/public/product/body_vector"} <= set(assets)
    # The table is one asset, not two.
    assert "public/article" not in assets
    assert assets["public/article/body_vector"]["dependency_keys"] == ["analytics/article"]
    assert assets["public/article/body_vector"]["group_name"] == "search"
    assert assets["public/article/body_vector"]["owners"] == [{"team": "search"}]
    jobs = {each["name"] for each in found["jobs"]}
    assert {"body_vector__sync_partitions", "products__body_vector__sync_partitions"} <= jobs

    project.succeed("launch", "--assets", "staging/raw_article,analytics/article")
    project.succeed("launch", "--job", "body_vector__sync_partitions")
    partition = ("--partition", "public:article::min::max")
    project.succeed("launch", "--assets", "public/article/body_vector", *partition)
    with psycopg.connect(project.url) as connection:
        assert connection.execute("SELECT count(body_vector) FROM article").fetchone() == (3,)


def test_scaffolded_component_passes_the_checks(project: DgProject) -> None:
    project.succeed("scaffold", "defs", COMPONENT, "more", "--format", "yaml")
    folder = project.folder / "src" / "articles" / "defs" / "more"
    # Of several files with the same component, `dg check yaml` checks only one, unless it is named.
    check = ("check", "yaml", str(folder))
    assert "validated successfully" in project.succeed(*check)
    wrong = "body_vector\n      batch_size: 99999\n      workers: '{{ env.WORKERS }}'"
    project.edit(folder / "defs.yaml", "body_vector", wrong)
    code, output = project.dg(*check)
    assert code == 1, output
    assert "vectors.0.batch_size 99999 is greater than the maximum of 10000" in output
    assert "vectors.0.workers" not in output
