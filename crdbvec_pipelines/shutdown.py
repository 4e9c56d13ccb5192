"""Whether this process was asked to end."""

import threading

shutdown_requested = threading.Event()
"""Set by the first signal of a command. What failed because of an outage is not tried again after it."""
