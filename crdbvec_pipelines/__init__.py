"""Vector columns of CockroachDB tables, kept fresh by Dagster.

The names in `__all__` are the public interface (docs/library.md). They are imported on first use, because every Dagster
step process imports the package, so the import must stay fast.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crdbvec_pipelines.config import ProjectConfig
    from crdbvec_pipelines.database.errors import (
        ConnectionRejected,
        DatabaseError,
        DatabaseUnavailable,
        MissingPrivilege,
        TableError,
    )
    from crdbvec_pipelines.database.rows.row_counts import RowCounts
    from crdbvec_pipelines.database.search.filters import Range
    from crdbvec_pipelines.encoding.errors import EncoderUnavailable, EncodingError, ModelError
    from crdbvec_pipelines.errors import ConfigurationError, CrdbvecError
    from crdbvec_pipelines.library import Column, open_column
    from crdbvec_pipelines.refresh.report import RefreshReport
    from crdbvec_pipelines.search.result import Hit

__version__ = "0.2.0"

__all__ = [
    "Column",
    "ConfigurationError",
    "ConnectionRejected",
    "CrdbvecError",
    "DatabaseError",
    "DatabaseUnavailable",
    "EncoderUnavailable",
    "EncodingError",
    "Hit",
    "MissingPrivilege",
    "ModelError",
    "ProjectConfig",
    "Range",
    "RefreshReport",
    "RowCounts",
    "TableError",
    "__version__",
    "open_column",
]

_MODULES = {
    "Column": "library",
    "ConfigurationError": "errors",
    "ConnectionRejected": "database.errors",
    "CrdbvecError": "errors",
    "DatabaseError": "database.errors",
    "DatabaseUnavailable": "database.errors",
    "EncoderUnavailable": "encoding.errors",
    "EncodingError": "encoding.errors",
    "Hit": "search.searcher",
    "MissingPrivilege": "database.errors",
    "ModelError": "encoding.errors",
    "ProjectConfig": "config",
    "Range": "database.search.filters",
    "RefreshReport": "refresh.report",
    "RowCounts": "database.rows.row_counts",
    "TableError": "database.errors",
    "open_column": "library",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
