"""A step that journals in memory, and the fake model server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.model_server import ModelServer, running
from tests.support.memory_step import MemoryStep
from tests.support.tls import Authority


@pytest.fixture(scope="session")
def _few_authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Authority(tmp_path_factory.mktemp("authorities")).path


@pytest.fixture(autouse=True)
def _quick_clients(_few_authorities: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new client reads the authorities that it trusts: here one, and not some hundred."""
    monkeypatch.setenv("SSL_CERT_FILE", str(_few_authorities))


@pytest.fixture
def step() -> MemoryStep:
    return MemoryStep()


@pytest.fixture(scope="session")
def _model_server() -> Iterator[ModelServer]:
    with running() as server:
        yield server


@pytest.fixture
def server(_model_server: ModelServer) -> ModelServer:
    _model_server.script()
    return _model_server
