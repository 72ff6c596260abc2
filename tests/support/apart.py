"""Processes beside a test that are forks, but not of the test's own process.

A fork of that has each lock as another thread held it at that moment, and may wait for it for ever.
The server that makes these has one thread, and has imported what most of them use.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver

apart = multiprocessing.get_context("forkserver")
apart.set_forkserver_preload(
    ["hypothesis", "app.admission.budgets.shared", "tests.unit.app.journal.support"]
)


def share() -> None:
    """Start the server for this process and its forks: it takes two seconds to import all that."""
    server = forkserver._forkserver
    server.ensure_running()
    # A fork would ask for the end of it, which only its parent is told.
    server.ensure_running = lambda: None  # type: ignore[method-assign]
