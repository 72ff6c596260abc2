"""The official conformance suite of MCP against our client and server, where there is Node."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client_suite import figures
from tests.support.conformance import NODE, SUITE, VERSIONS, decided, options, stood, suite
from tests.support.drawn import is_full
from tests.support.npm import installed_by_npm

pytestmark = [pytest.mark.databases("none"), pytest.mark.slow, pytest.mark.timeout(1_200)]

#: The newest; what earlier ones have in common with it is tried in words of each by other tests.
TRIED = VERSIONS if is_full() else VERSIONS[-1:]
#: Checks of each version that pass, and that our client passes at the least.
SERVER = dict(zip(VERSIONS, (84, 196), strict=True))
CLIENT = dict(zip(VERSIONS, (298, 455), strict=True))
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


@pytest.fixture(scope="module")
def installed() -> Path:
    """A folder in which the suite is installed, with its Node."""
    return installed_by_npm("install", SUITE, NODE)


@pytest.mark.parametrize("version", TRIED)
def test_our_client_conforms(installed: Path, version: str) -> None:
    """In full by all scenarios; else by one, in which it signs in, lists, calls, and asks for more.

    What the others are about is shown in tests/unit/agents/toolsets/mcp, by servers of our own.
    """
    scenario, passed = (None, CLIENT[version]) if is_full() else ("auth/scope-step-up", 23)
    found = figures(version, scenario=scenario, at=installed)
    assert set(found.failed) <= UNKNOWN
    assert found.passed >= passed


#: What holds where either of two processes may get any request holds of one, too.
@pytest.mark.parametrize("servers", [1, 2] if is_full() else [2])
def test_our_server_conforms(installed: Path, tmp_path: Path, servers: int) -> None:
    """By real workers and the journal."""
    asked = options(["--at", str(installed)])
    with stood(tmp_path, servers) as url:
        for version in TRIED:
            told = suite(asked, url, "--requirements", version)
            assert decided(told) == (SERVER[version], 0), told
