"""How the steps of a run are executed."""

import dagster as dg

# Light modules that every step needs. Not torch: a forked child of a process with its threads started is unsafe, and
# preloading it costs each run more than the one step that needs it.
_PRELOADED = ["crdbvec_pipelines.definitions", "crdbvec_pipelines.orchestration.build", "psycopg", "numpy"]


def multiprocess() -> dg.ExecutorDefinition:
    """A process a step, forked from one that has the light modules loaded."""
    return dg.multiprocess_executor.configured(
        {"start_method": {"forkserver": {"preload_modules": _PRELOADED}}}, name="forkserver"
    )
