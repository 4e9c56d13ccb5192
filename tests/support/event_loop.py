"""An event loop for libraries that take that of the main thread, or create one and never close it.

Such a loop is collected as garbage, with a warning, during any later test.
"""

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def event_loop_of_the_module() -> Iterator[None]:
    """Give the tests of a module a loop, which is closed after the last of them."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
