"""The official conformance suite of MCP against our client, where there is Node to run it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.client_suite import figures
from tests.support.conformance import NODE, SUITE

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


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the suite is installed, with its Node."""
    if shutil.which("npm") is None:
        pytest.skip("there is no Node on this machine: apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("suite")
    command = ["npm", "install", "--no-audit", "--no-fund", SUITE, NODE]
    done = subprocess.run(
        command, check=False, cwd=folder, capture_output=True, text=True, timeout=240
    )
    if done.returncode:
        pytest.skip(f"npm gets no suite: {done.stderr[-200:]}")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("version", "passed"), [("2025-11-25", 298), ("2026-07-28", 455)])
def test_our_client_conforms(suite: Path, version: str, passed: int) -> None:
    found = figures(version, at=suite)
    assert set(found.failed) <= UNKNOWN
    assert found.passed >= passed
