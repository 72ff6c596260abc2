"""The official conformance suite of MCP against our client, where there is Node to run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client_suite import figures

pytestmark = pytest.mark.databases("none")

#: Tokens that are bound to a key of the client (DPoP, an extension) are not asked for.
UNKNOWN = {
    "auth/dpop: sep-1932-client-token-request-proof",
    "auth/dpop: sep-1932-client-dpop-auth-scheme",
    "auth/dpop: sep-1932-client-fresh-proof",
    "auth/dpop-nonce: sep-1932-client-token-request-proof",
    "auth/dpop-nonce: sep-1932-client-dpop-auth-scheme",
    "auth/dpop-nonce: sep-1932-client-fresh-proof",
    "auth/dpop-nonce: sep-1932-client-as-nonce",
    "auth/dpop-nonce: sep-1932-client-rs-nonce",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("version", "passed"), [("2025-11-25", 298), ("2026-07-28", 455)])
def test_our_client_conforms(mcp_suite: Path, version: str, passed: int) -> None:
    found = figures(version, at=mcp_suite)
    assert set(found.failed) <= UNKNOWN
    assert found.passed >= passed
