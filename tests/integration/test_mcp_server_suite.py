"""The official conformance suite of MCP against our server, where there is Node to run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.conformance import decided, options, stood, suite

pytestmark = pytest.mark.databases("none")

#: Checks of each version.
CHECKS = {"2025-11-25": 84, "2026-07-28": 196}


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("servers", [1, 2])
def test_our_server_conforms(mcp_suite: Path, tmp_path: Path, servers: int) -> None:
    """By real workers and the journal. Of two processes, either may get any request."""
    asked = options(["--at", str(mcp_suite)])
    with stood(tmp_path, servers) as url:
        for version, checks in CHECKS.items():
            told = suite(asked, url, "--requirements", version)
            assert decided(told) == (checks, 0), told
