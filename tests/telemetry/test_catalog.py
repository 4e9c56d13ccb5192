"""The metrics are documented, and the alert rules and the dashboard use no other ones."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from crdbvec_pipelines.telemetry.catalog import METRICS
from crdbvec_pipelines.telemetry.metrics import Metrics
from tests.support.processes import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "crdbvec.json"
NAMES = {metric.name for metric in METRICS}
NEEDS_PROMTOOL = "needs promtool, which Debian's package prometheus contains"


def used(text: str) -> set[str]:
    """Return the metrics that expressions use; the parts of a histogram count as the histogram."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bcrdbvec_[a-z_]+", text)}


def test_page_documents_each_metric_with_its_meaning_and_no_other() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(crdbvec_[a-z_]+)` \| (\w+) \| (.*) \|$", page, re.MULTILINE))
    assert documented == {(metric.name, metric.kind, metric.meaning) for metric in METRICS}


def test_dashboard_shows_every_metric_and_no_other() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert used(" ".join(target["expr"] for panel in panels for target in panel["targets"])) == NAMES


def test_alert_rules_use_no_other_metrics() -> None:
    assert used((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8")) <= NAMES


def test_registry_has_the_metrics_of_the_catalog() -> None:
    registered = {
        family.name + ("_total" if family.type == "counter" else "") for family in Metrics().registry.collect()
    }
    assert registered == NAMES


@pytest.mark.parametrize("command", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]], ids=str)
def test_alert_rules_pass_promtool(command: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip(NEEDS_PROMTOOL)
    done = subprocess.run([promtool, *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_unit_test() -> None:
    rules = (PROMETHEUS / "alerts.yml").read_text(encoding="utf-8")
    tests = Path(PROMETHEUS / "alerts_test.yml").read_text(encoding="utf-8")
    assert [name for name in re.findall(r"alert: (\w+)", rules) if name not in tests] == []
