"""Base classes of the errors. A layer with errors of its own derives them next to the code that raises them.

A message says what happened, which object, and what to do. Each class also has a general remedy, which the reference of
the errors (docs/errors.md) lists next to the first sentence of the class's docstring.
"""

from typing import ClassVar


class CrdbvecError(Exception):
    """The command or run failed; work that had been written before is kept.

    Attributes:
        exit_code: The exit code of the command line.
        remedy: What a user can do about it, as one imperative sentence.
        is_retryable: Whether the same work may succeed when it is tried again without a change.
    """

    exit_code: ClassVar[int] = 1
    is_retryable: ClassVar[bool] = True
    remedy: ClassVar[str] = "Follow the message, which names the object and the remedy, then run the command again."


class ConfigurationError(CrdbvecError):
    """The configuration or an argument is invalid, and nothing was changed."""

    exit_code = 2
    is_retryable = False
    remedy = "Correct the entry of crdbvec.yaml, the option or the argument that the message names."
