"""Print the lowest allowed version of each direct dependency, as constraints of pip; torch apart."""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
# It is pinned by the caller.
APART = {"torch"}
_REQUIREMENT = re.compile(r"(?P<name>[\w-]+)(?:\[[\w,-]+\])?>=(?P<lowest>[\w.]+),<[\w.]+(?P<marker> *;.*)?")


def lowest(requirements: list[str]) -> list[str]:
    """Return the constraints; every requirement has a lower and an upper bound."""
    constraints = []
    for requirement in requirements:
        match = _REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise ValueError(f"{requirement} has no lower or no upper bound")
        if match["name"] not in APART:
            constraints.append(f"{match['name']}=={match['lowest']}{match['marker'] or ''}")
    return constraints


if __name__ == "__main__":
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    sys.stdout.write("\n".join(lowest(project["dependencies"])) + "\n")
