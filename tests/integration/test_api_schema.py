"""The API does what its own description says, whatever is asked: schemathesis on all routes."""

from __future__ import annotations
