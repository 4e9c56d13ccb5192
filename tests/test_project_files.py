"""The files around the code: license, workflows, templates, changelog, contributor documentation."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from crdbvec_pipelines import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "crdbvec_pipelines"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
YAML_FILES = sorted([*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"])
MARKDOWN_FILES = sorted([*ROOT.glob("*.md"), *(ROOT / ".github").rglob("*.md"), *(ROOT / "docs").rglob("*.md")])

# A tag of a major version, such as v7 or release/v1, or a workflow of this repository.
ACTION = re.compile(r"[\w.-]+/[\w./-]+@(release/)?v\d+|\./\.github/workflows/[\w.-]+\.yml")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def load_yaml(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The [project] table of pyproject.toml."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(table, dict)
    return table


@pytest.mark.parametrize("path", YAML_FILES, ids=relative)
def test_yaml_file_is_a_mapping(path: Path) -> None:
    assert load_yaml(path)


def test_all_expected_yaml_files_exist() -> None:
    assert {relative(path) for path in YAML_FILES} >= {
        ".github/ISSUE_TEMPLATE/bug_report.yml",
        ".github/ISSUE_TEMPLATE/config.yml",
        ".github/ISSUE_TEMPLATE/feature_request.yml",
        ".github/dependabot.yml",
        ".github/workflows/ci.yml",
        ".github/workflows/release.yml",
        ".pre-commit-config.yaml",
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=relative)
def test_actions_are_pinned_to_a_major_version(path: Path) -> None:
    jobs = load_yaml(path)["jobs"].values()
    used = [part["uses"] for job in jobs for part in (job, *job.get("steps", ())) if "uses" in part]
    assert used
    assert [action for action in used if not ACTION.fullmatch(action)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=relative)
def test_workflow_may_only_read_the_repository(path: Path) -> None:
    """Only the job that publishes may request an identity token."""
    workflow = load_yaml(path)
    assert workflow["permissions"] == {"contents": "read"}
    by_job = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert by_job == ({"publish": {"id-token": "write"}} if path.name == "release.yml" else {})


@pytest.mark.parametrize("job", ["test", "build"])
def test_ci_runs_on_every_supported_python(project: dict[str, Any], job: str) -> None:
    supported = SpecifierSet(project["requires-python"])
    expected = [f"3.{minor}" for minor in range(100) if supported.contains(f"3.{minor}.0")]
    prefix = "Programming Language :: Python :: "
    versions = [text.removeprefix(prefix) for text in project.get("classifiers", ()) if text.startswith(f"{prefix}3.")]
    workflow = load_yaml(ROOT / ".github/workflows/ci.yml")
    assert workflow["jobs"][job]["strategy"]["matrix"]["python-version"] == expected
    assert versions == expected


def test_license_is_apache_2(project: dict[str, Any]) -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split()[:6] == ["Apache", "License", "Version", "2.0,", "January", "2004"]
    assert "END OF TERMS AND CONDITIONS" in text
    assert project.get("license") == "Apache-2.0"


def test_every_license_file_exists(project: dict[str, Any]) -> None:
    assert set(project["license-files"]) >= {"LICENSE", "examples/wordnet/LICENSE"}
    assert [name for name in project["license-files"] if not (ROOT / name).is_file()] == []


def test_changelog_has_a_dated_section_for_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    released = [heading.split(" - ") for heading in headings[1:]]
    assert released[0][0] == __version__
    assert [parts for parts in released if len(parts) != 2 or not re.fullmatch(r"\d{4}-\d\d-\d\d", parts[1])] == []


def layout() -> list[Path]:
    """The modules and packages in the first column of the layout table in CONTRIBUTING.md."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## Layout\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [PACKAGE / name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_module_in_the_layout_table_exists() -> None:
    named = layout()
    assert named
    assert [relative(path) for path in named if not (path.is_file() or any(path.glob("*.py")))] == []


def test_every_package_and_root_module_is_in_the_layout_table() -> None:
    packages = {path.parent for path in PACKAGE.rglob("*/*.py")} - {PACKAGE}
    modules = {path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"}
    assert sorted(relative(path) for path in (packages | modules) - set(layout())) == []


def links(path: Path) -> Iterator[str]:
    """The targets of a Markdown file's inline links, outside of code."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"\]\(<?([^)>\s]+)>?\)", text)


@pytest.mark.parametrize("path", MARKDOWN_FILES, ids=relative)
def test_relative_links_lead_to_a_file(path: Path) -> None:
    targets = [link.split("#")[0] for link in links(path) if not re.match(r"[a-z]+:|#", link)]
    assert [target for target in targets if not (path.parent / target).exists()] == []
