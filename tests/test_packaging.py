"""The wheel: its files, and that the package works without the checkout."""

import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT, run

BUILT_IN = ["color_histogram", "hf_st_all_minilm_l6", "openai_compatible"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    completed = run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)], ROOT
    )
    assert completed.returncode == 0, completed.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture
def unpacked(wheel: Path, tmp_path: Path) -> Path:
    """The content of the wheel in a folder, as in an installation."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def run_unpacked(unpacked: Path, source: str, *arguments: str) -> str:
    """Run Python source with the wheel first on the path, outside of the checkout, and return what it prints."""
    empty = unpacked.parent / "empty"
    empty.mkdir(exist_ok=True)
    completed = run([sys.executable, "-c", source, *arguments], empty, {"PYTHONPATH": str(unpacked)})
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def test_wheel_contains_one_package_and_nothing_next_to_it(files: set[str]) -> None:
    folders = {name.split("/")[0] for name in files}
    assert {name for name in folders if not name.endswith(".dist-info")} == {"crdbvec_pipelines"}


def test_wheel_contains_every_module_of_the_package(files: set[str]) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "crdbvec_pipelines").rglob("*.py")}
    assert modules <= files
    assert "crdbvec_pipelines/py.typed" in files


def test_wheel_contains_the_built_in_models_and_the_bundled_files(files: set[str]) -> None:
    for name in BUILT_IN:
        assert f"crdbvec_pipelines/_builtin_models/{name}.py" in files
    for name in ("crdbvec.yaml", "dagster.yaml", "workspace.yaml", "examples/wordnet/glosses.tsv.gz"):
        assert f"crdbvec_pipelines/_bundled/{name}" in files
    licenses = {name.split(".dist-info/licenses/")[1] for name in files if ".dist-info/licenses/" in name}
    assert licenses == {"LICENSE", "examples/wordnet/LICENSE"}


def test_wheel_does_not_contain_files_of_the_checkout_only(files: set[str]) -> None:
    assert [name for name in files if "__pycache__" in name or "tests" in name.split("/") or ".crdbvec/" in name] == []


def test_models_are_listed_without_the_checkout(unpacked: Path) -> None:
    printed = run_unpacked(unpacked, "from crdbvec_pipelines.cli import main; main()", "model", "list")
    assert [line.split("\t")[0] for line in printed.splitlines()] == BUILT_IN


def test_files_are_read_from_the_wheel_and_not_from_the_checkout(unpacked: Path) -> None:
    source = (
        "import crdbvec_pipelines; from crdbvec_pipelines.bundled import bundled; "
        "from crdbvec_pipelines.encoding.registry import ModelRegistry; "
        "print(crdbvec_pipelines.__file__); print(bundled('crdbvec.yaml')); "
        "print(ModelRegistry().find('color_histogram').path)"
    )
    printed = run_unpacked(unpacked, source).splitlines()
    assert len(printed) == 3
    for path in map(Path, printed):
        assert path.is_relative_to(unpacked)
        assert path.is_file()


def test_definitions_load_from_the_bundled_configuration(unpacked: Path) -> None:
    source = (
        "import os; from crdbvec_pipelines.bundled import bundled; "
        "os.environ['CRDBVEC_CONFIG'] = str(bundled('crdbvec.yaml')); "
        "from crdbvec_pipelines.definitions import defs; "
        "print(len(list(defs().resolve_all_job_defs())) > 3)"
    )
    assert run_unpacked(unpacked, source) == "True\n"
