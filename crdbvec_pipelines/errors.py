"""The errors a user may meet, each a sentence that says what happened, where, and what to do.

Only the base classes live here; a layer with errors of its own derives them beside the code that raises them.
"""


class CrdbvecError(Exception):
    """The work failed. The command line prints the message and exits with code 1."""

    exit_code = 1


class ConfigurationError(CrdbvecError):
    """What was asked for cannot be done as written. Exit code 2, and nothing was changed."""

    exit_code = 2
