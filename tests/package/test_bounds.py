"""The bounds of the dependencies, whose newest and lowest versions `make smoke` installs."""

import re
import tomllib

import pytest

from tests.support.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"].values()
REQUIREMENTS = sorted({*PROJECT["dependencies"], *(each for extra in EXTRAS for each in extra)})
# Stubs have the version of the library, and a date.
WITHOUT_UPPER_BOUND = {"types-PyYAML"}


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_requirement_has_a_lower_and_an_upper_bound(requirement: str) -> None:
    match = re.fullmatch(r"(?P<name>[\w-]+)(\[[\w,-]+\])?>=[\w.]+(?P<upper>,<[\w.]+)?(;.*| ;.*)?", requirement)
    assert match is not None
    assert match["upper"] or match["name"] in WITHOUT_UPPER_BOUND
