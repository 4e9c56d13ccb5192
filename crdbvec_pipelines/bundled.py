"""Files of the project other than Python: at the top of a checkout, and inside the package in a wheel."""

from pathlib import Path

_IN_WHEEL = Path(__file__).parent / "_bundled"
_IN_CHECKOUT = Path(__file__).parent.parent


def bundled(name: str) -> Path:
    """Return the path of a file by its name relative to the checkout, such as `dagster.yaml`."""
    return (_IN_WHEEL if _IN_WHEEL.exists() else _IN_CHECKOUT) / name
