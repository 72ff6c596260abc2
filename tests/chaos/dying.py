"""Has a worker die as Redis hands it a message: a module of ``AGENTS_MODULES``."""

from __future__ import annotations

from tests.support import killed_at_take

killed_at_take.install()
