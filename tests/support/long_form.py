"""Tests that take minutes and vary others: `make chaos` runs them, and the ordinary suite leaves them out."""

import os

import pytest

ROUNDS = int(os.environ.get("CRDBVEC_CHAOS_ROUNDS", "0"))
"""How often `make chaos` runs each scenario; 0 in the ordinary suite."""

long_form = pytest.mark.long_form
"""The mark of such a test."""
