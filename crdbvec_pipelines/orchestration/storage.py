"""Kept for dagster.yaml files written for release 0.1.0, which name this module; the class is in `instance.storage`."""

from crdbvec_pipelines.orchestration.instance.storage import PostgresStorage

__all__ = ["PostgresStorage"]
