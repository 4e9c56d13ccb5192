"""Jobs and assets launched as Dagster's UI launches them: by GraphQL, with the run config with which it opens."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import yaml

from tests.chaos.deployment import Deployment
from tests.orchestration.daemon import prepare_home
from tests.orchestration.launchpad import ASSET_JOB, Launchpad
from tests.support.projects import write_config
from tests.support.servers import Server
from tests.support.tables import create_table, vectors

pytestmark = pytest.mark.timeout(900)

PARTITION = "public:passage::min::max"
INDEX = ("public", "passage", "passage_vector_index")
ASSET = ("public", "passage", "passage_vector")
JOBS = {action: f"passage_vector__{action}" for action in ("sync_partitions", "encode", "follow", "maintain")}
IN_PROCESS = "passage_vector__encode_in_process"


@dataclass(frozen=True)
class Ui:
    """Dagster's webserver and code server on a table with ten rows.

    Attributes:
        launchpad: The launchpad.
        deployment: The processes.
        url: The URL of the database, which is also in the environment of the processes.
    """

    launchpad: Launchpad
    deployment: Deployment
    url: str

    def launch(self, job: str, *assets: tuple[str, ...], **tags: str) -> dict[str, str]:
        """Launch a job or assets as their launchpad opens, and return the run, which must have succeeded."""
        config = self.launchpad.default_config(job, *assets)
        result = self.launchpad.launch(job, config, *assets, **tags)
        assert result["__typename"] == "LaunchRunSuccess", result
        run_id = result["run"]["runId"]
        self.deployment.wait_until(lambda: self.launchpad.run(run_id)["status"] in ("SUCCESS", "FAILURE", "CANCELED"))
        run = self.launchpad.run(run_id)
        assert run["status"] == "SUCCESS", (job, assets, self.launchpad.failures(run_id))
        return run


@pytest.fixture(scope="module")
def ui(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """One webserver for all tests of this file, because starting one takes half a minute."""
    home = tmp_path_factory.mktemp("home")
    config = write_config(home, {"model": "stub_hash", "index": {"metric": "cosine"}})
    with (
        postgres.new_database() as url,
        postgres.new_database() as storage,
        pytest.MonkeyPatch.context() as patch,
    ):
        with psycopg.connect(url, autocommit=True) as connection:
            create_table(connection, texts=[f"text {number}" for number in range(10)])
        for name, value in prepare_home(home, config, url, storage).items():
            patch.setenv(name, value)
        without_queue(home)
        deployment = Deployment(home, "api-grpc")
        try:
            deployment.start("code server", "webserver")
            deployment.wait_for_jobs()
            yield Ui(Launchpad(deployment.webserver.url), deployment, url)
        finally:
            deployment.stop()


def without_queue(home: Path) -> None:
    """Let the webserver launch runs itself, so that no daemon is necessary."""
    file = home / "dagster.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    del settings["concurrency"], settings["run_queue"]
    settings["run_coordinator"] = {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"}
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")


def test_each_job_and_the_index_succeed_as_their_launchpads_open(ui: Ui) -> None:
    for job, tags in (
        (JOBS["sync_partitions"], {}),
        (JOBS["encode"], {"dagster/partition": PARTITION}),
        (IN_PROCESS, {"dagster/partition": PARTITION}),
        (JOBS["follow"], {}),
        (JOBS["maintain"], {}),
    ):
        assert ui.url not in ui.launch(job, **tags)["runConfigYaml"]
    assert ui.url not in ui.launch(ASSET_JOB, INDEX)["runConfigYaml"]
    with psycopg.connect(ui.url) as connection:
        assert all(vector is not None for vector in vectors(connection).values())


def test_launchpads_and_resources_show_no_url(ui: Ui) -> None:
    shown = [ui.launchpad.default_config(job) for job in (*JOBS.values(), IN_PROCESS)]
    shown.append(ui.launchpad.default_config(ASSET_JOB, INDEX))
    assert all("********" in text and ui.url not in text for text in shown)
    assert {values["url"] for values in ui.launchpad.resources().values()} == {"CRDBVEC_URL"}


def test_launchpad_describes_bounds_and_defaults(ui: Ui) -> None:
    shown = ui.launchpad.descriptions(JOBS["encode"])
    assert shown["batch_size"].endswith("1 to 10,000, by default 1,024.")
    assert shown["workers"].endswith("1 to 64, by default 1.")
    assert shown["num_batches"].startswith("Stop after this many batches; 1 or more, by default no limit.")
    assert ui.launchpad.descriptions(JOBS["follow"])["minutes"].endswith("more than 0, by default 10.")
    config = yaml.safe_load(ui.launchpad.default_config(ASSET_JOB, ASSET))
    assert config["ops"]["__".join(ASSET)]["config"] == {"batch_size": 1_024, "workers": 1}


@pytest.mark.parametrize(
    ("job", "op", "config"),
    [
        (JOBS["encode"], "__".join(ASSET), {"batch_size": 99_999}),
        (JOBS["encode"], "__".join(ASSET), {"workers": 0}),
        (JOBS["follow"], "public__passage__passage_vector__follow_op", {"minutes": 0.0}),
        (JOBS["follow"], "public__passage__passage_vector__follow_op", {"edited_since": "yesterday"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_out_of_range_are_rejected_before_a_run_exists(
    ui: Ui, job: str, op: str, config: dict[str, object]
) -> None:
    before = ui.launchpad.runs()
    result = ui.launchpad.launch(job, yaml.safe_dump({"ops": {op: {"config": config}}}))
    assert result["__typename"] == "PythonError"
    messages = [result["message"], *(cause["message"] for cause in result["causes"])]
    assert any(f"The run config of {op} is invalid: {next(iter(config))}: " in text for text in messages)
    assert ui.launchpad.runs() == before
