"""docs/deploys.md names each dependency whose license requires more than a notice."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS_OF_DEVELOPERS = {"dev", "docs"}
MORE_THAN_A_NOTICE = re.compile(r"GPL|Lesser General Public|MPL|Mozilla|EPL|CDDL|Proprietary", re.IGNORECASE)


def required() -> dict[str, Distribution]:
    """Return the installed distributions that the package needs, with its extras for users, by their names."""
    extras = PROJECT["optional-dependencies"]
    waiting = [*PROJECT["dependencies"]]
    waiting += [each for name, given in extras.items() if name not in EXTRAS_OF_DEVELOPERS for each in given]
    found: dict[str, Distribution] = {}
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            # Of an extra that is not in requirements.lock, or for another platform.
            continue
        of_extras = [extra for extra in (*requirement.extras, "") if extra or name not in found]
        found[name] = installed
        waiting += [each for each in installed.requires or () if any(_is_needed(each, extra) for extra in of_extras)]
    return found


def _is_needed(requirement: str, extra: str) -> bool:
    marker = Requirement(requirement).marker
    return marker is None or marker.evaluate({"extra": extra})


def licenses(installed: Distribution) -> Iterator[str]:
    """Yield what the metadata of a distribution says about its license."""
    metadata = installed.metadata
    # Some packages have the whole text of the license there.
    for key in ("License-Expression", "License"):
        yield from (text.strip().split("\n")[0] for text in metadata.get_all(key, []))
    yield from (text for text in metadata.get_all("Classifier", []) if text.startswith("License ::"))


def test_packages_whose_license_requires_more_than_a_notice_are_on_the_page() -> None:
    page = (ROOT / "docs" / "deploys.md").read_text(encoding="utf-8")
    rows = page[page.index("## Licenses of the dependencies") :]
    packages = required()
    assert len(packages) > 100
    special = {
        name
        for name, installed in packages.items()
        if any(map(MORE_THAN_A_NOTICE.search, licenses(installed))) or not any(licenses(installed))
    }
    assert {"psycopg", "psycopg2-binary", "certifi"} <= special
    assert [name for name in sorted(special) if f"`{name}`" not in rows] == []
