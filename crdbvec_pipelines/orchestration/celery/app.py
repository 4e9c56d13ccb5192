"""The Celery app of a worker, which `celery -A` imports: the broker and the settings of $DAGSTER_HOME/dagster.yaml."""

import dagster as dg
from celery import Celery

from crdbvec_pipelines.errors import ConfigurationError
from crdbvec_pipelines.orchestration.celery.launcher import MonitoredCeleryRunLauncher
from crdbvec_pipelines.orchestration.celery.tasks import register_tasks


def launcher_of(instance: dg.DagsterInstance) -> MonitoredCeleryRunLauncher:
    """Return the run launcher of an instance.

    Raises:
        ConfigurationError: It is another one, so no run would come through Celery.
    """
    launcher = instance.run_launcher
    if not isinstance(launcher, MonitoredCeleryRunLauncher):
        raise ConfigurationError(
            f"The run launcher of dagster.yaml is {type(launcher).__name__}, so workers receive no runs. Set "
            f"run_launcher to {MonitoredCeleryRunLauncher.__module__}.{MonitoredCeleryRunLauncher.__name__}, as "
            "deploy/celery/dagster.yaml does."
        )
    return launcher


def worker_app() -> Celery:
    """Return the app with its task."""
    with dg.DagsterInstance.get() as instance:
        app = launcher_of(instance).celery
    register_tasks(app)
    return app


def __getattr__(name: str) -> Celery:
    """Return the app when Celery looks for it, so that importing this module opens no storage."""
    if name != "app":
        raise AttributeError(name)
    return worker_app()
