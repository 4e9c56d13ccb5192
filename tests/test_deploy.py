"""The example instances of deploy/: the jobs for Kubernetes, checked as strictly as it can, and the launcher of Ray."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg
import pytest
import yaml
from dagster._config import process_config
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.launcher import LaunchRunContext

from crdbvec_pipelines import __version__
from tests.support.processes import ROOT

DEPLOY = ROOT / "deploy"
INSTANCE = DEPLOY / "kubernetes" / "dagster.yaml"
NEEDS_KUBERNETES = "needs the packages dagster-k8s and kubernetes-validate of requirements.lock"
KUBERNETES = "1.31"
GPU = {
    "container_config": {"resources": {"limits": {"nvidia.com/gpu": 1}}},
    "pod_spec_config": {"node_selector": {"topology.kubernetes.io/region": "us-east1"}},
    "merge_behavior": "DEEP",
}
DEFINITIONS = """
import dagster as dg

@dg.op
def nothing(): ...

@dg.job
def empty():
    nothing()
"""


def make_run(instance: dg.DagsterInstance, folder: Path, tags: Mapping[str, str]) -> dg.DagsterRun:
    """Create a run of a job in a file, as a code server describes it."""
    job = ReconstructableJob.for_file(str(folder / "empty_definitions.py"), "empty")
    return instance.create_run_for_job(job.get_definition(), tags=tags, job_code_origin=job.get_python_origin())


def launched_job(folder: Path, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the job that the instance sends to Kubernetes for a run."""
    kubernetes = pytest.importorskip("kubernetes", reason=NEEDS_KUBERNETES)
    dagster_k8s = pytest.importorskip("dagster_k8s", reason=NEEDS_KUBERNETES)
    given = yaml.safe_load(INSTANCE.read_text(encoding="utf-8"))["run_launcher"]["config"]
    (folder / "empty_definitions.py").write_text(DEFINITIONS, encoding="utf-8")
    batch = mock.MagicMock()
    with mock.patch("kubernetes.config.load_incluster_config"), dg.instance_for_test() as instance:
        launcher = dagster_k8s.K8sRunLauncher(k8s_client_batch_api=batch, **given)
        launcher.register_instance(instance)
        run = make_run(instance, folder, tags)
        launcher.launch_run(LaunchRunContext(run, None))
    (call,) = batch.create_namespaced_job.mock_calls
    body = kubernetes.client.ApiClient().sanitize_for_serialization(call.kwargs["body"])
    assert isinstance(body, dict)
    return body


def check(job: dict[str, Any]) -> None:
    """Check a job against the schema of Kubernetes, in which no unknown key is allowed."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason=NEEDS_KUBERNETES)
    kubernetes_validate.validate(job, KUBERNETES, strict=True)


def test_images_have_the_version_of_the_package() -> None:
    files = [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    tags = re.findall(r"crdbvec-pipelines:([\d.]+)", text) + re.findall(r'tag: "([\d.]+)"', text)
    assert len(tags) >= 4
    assert set(tags) == {__version__}


def test_page_says_what_checked_each_file() -> None:
    page = (ROOT / "docs" / "deploys.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\(\.\./(deploy/[\w./-]+)\)", page))
    files = {path.relative_to(ROOT).as_posix() for path in DEPLOY.rglob("*") if path.is_file()}
    # The linters themselves, and the tests of the alert rules.
    assert files - listed == {"deploy/lint.sh", "deploy/prometheus/alerts_test.yml"}


def test_job_of_a_run_is_valid_and_contains_no_secret(tmp_path: Path) -> None:
    job = launched_job(tmp_path, {})
    check(job)
    assert job["spec"]["backoffLimit"] == 0
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["nodeSelector"] == {"topology.kubernetes.io/region": "europe-west1"}
    assert container["resources"]["requests"] == {"cpu": "4", "memory": "4Gi"}
    secrets = [source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source]
    assert secrets == ["crdbvec-database", "dagster-storage"]
    assert not {"CRDBVEC_URL", "DAGSTER_PG_URL"} & {variable["name"] for variable in container.get("env", ())}


def test_tag_of_a_run_adds_a_gpu_and_another_region(tmp_path: Path) -> None:
    job = launched_job(tmp_path, {"dagster-k8s/config": json.dumps(GPU)})
    check(job)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["nodeSelector"] == {"topology.kubernetes.io/region": "us-east1"}
    # The memory of the instance is kept.
    assert container["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": "1"}


def test_launcher_of_ray_accepts_its_configuration() -> None:
    dagster_ray = pytest.importorskip("dagster_ray", reason="needs the packages of crdbvec-pipelines[ray]")
    given = yaml.safe_load((DEPLOY / "ray" / "dagster.yaml").read_text(encoding="utf-8"))["run_launcher"]["config"]
    assert process_config(dagster_ray.RayRunLauncher.config_type(), given).success


def test_check_finds_a_misspelt_key(tmp_path: Path) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason=NEEDS_KUBERNETES)
    job = launched_job(tmp_path, {})
    job["spec"]["template"]["spec"]["nodeSelektor"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(job)
