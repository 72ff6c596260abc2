"""Processes beside a test that are forks, but not of the test's own process.

A fork of that has each lock as another thread held it at that moment, and may wait for it for ever.
The server that makes these has one thread, and has imported what most of them use.
"""

from __future__ import annotations

import multiprocessing

apart = multiprocessing.get_context("forkserver")
apart.set_forkserver_preload(
    ["hypothesis", "app.admission.budgets.shared", "tests.unit.app.journal.support"]
)
