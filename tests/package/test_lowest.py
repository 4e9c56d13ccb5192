"""The lowest versions with which `make smoke` installs the wheel."""

import tomllib

import pytest

from tests.package.lowest import PYPROJECT, lowest


def test_every_dependency_has_a_lowest_version() -> None:
    dependencies = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    constraints = lowest(dependencies)
    assert len(constraints) == len(dependencies) - 1
    assert "openvino==2026.1; platform_machine == 'x86_64' and sys_platform == 'linux'" in constraints
    assert any(each.startswith("psycopg==") for each in constraints)


def test_dependency_without_a_bound_is_an_error() -> None:
    with pytest.raises(ValueError, match="numpy has no lower"):
        lowest(["numpy"])
