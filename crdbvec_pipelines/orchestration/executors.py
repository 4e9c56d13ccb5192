"""The executors of runs."""

import dagster as dg

# Light modules that every step needs. Not torch: forking a process in which its threads have started is unsafe, and
# preloading it costs each run more than it saves the one step that needs it.
_PRELOADED = ["crdbvec_pipelines.definitions", "crdbvec_pipelines.orchestration.build", "psycopg", "numpy"]


def multiprocess() -> dg.ExecutorDefinition:
    """Return the executor with one process per step, forked from a process that has loaded the light modules."""
    return dg.multiprocess_executor.configured(
        {"start_method": {"forkserver": {"preload_modules": _PRELOADED}}}, name="forkserver"
    )
