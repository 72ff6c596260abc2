"""The API in the process of a test, on real servers; and as a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.application import create_api
from app.access.keys import new_key
from app.access.permissions import Role
from app.journal.schema.engine import connect
from app.journal.stores.keys import ApiKeys
from app.settings import Settings
from deploy.local.servers import LOOPBACK
from tests.support.forks import Fork
from tests.support.ports import free_port
from tests.support.service import SERVICE

#: A key for tokens of tests.
JWT_KEY = "a key for the tokens of tests only, and for nothing else"


def settings(redis_url: str, database_url: str, **more: Any) -> Settings:
    """The settings of an API on these servers."""
    about = {"jwt_keys": (SecretStr(JWT_KEY),), **more}
    return Settings(redis_url=SecretStr(redis_url), database_url=SecretStr(database_url), **about)


def made_key(database_url: str, role: Role, **about: Any) -> str:
    """A key in the journal of a test."""
    lasts_s = about.pop("lasts_s", None)
    key, row = new_key("a test", role, tenant=about.pop("tenant", ""), by="a test", grants=about)
    engine = connect(database_url)
    ApiKeys(engine).add(row, lasts_s)
    engine.dispose()
    return key


class Asked:
    """A client of the API under one key; without one, of nobody."""

    def __init__(self, http: Any, key: str | None = None) -> None:
        self.http = http
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def __call__(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
        **more: Any,
    ) -> Any:
        """A response; where a ``status`` is given, its JSON."""
        about = {**self._headers, **(headers or {})}
        if json is not None:
            more["json"] = json
        told = self.http.request(method, path, headers=about, **more)
        if status is None:
            return told
        assert told.status_code == status, told.text
        return told.json() if told.content else None

    def ask(self, agent: str, value: Any, *, wait: int = 20, **options: Any) -> Any:
        """The end of a run."""
        body = {"task": "ask", "agent": agent, "input": value, **options}
        return self("POST", "/tasks", body, headers={"Prefer": f"wait={wait}"}, status=200)

    def end(self, run_id: str, timeout_s: float = 30.0) -> Any:
        """A run once it has ended."""
        until = time.monotonic() + timeout_s
        while (found := self("GET", f"/tasks/{run_id}", status=200)).get("finished_at") is None:
            assert time.monotonic() < until, found
            time.sleep(0.02)
        return found


@contextmanager
def in_process(given: Settings) -> Iterator[Any]:
    """The app of these settings, on a loop in a thread of the test's process."""
    with TestClient(create_api(given), raise_server_exceptions=False) as http:
        yield http


@contextmanager
def served(
    env: Mapping[str, str], directory: Path, port: int | None = None
) -> Iterator[httpx2.Client]:
    """A process of the API, as the Procfile starts it; at this port, where one is given."""
    port = port or free_port()
    child = Fork(
        [str(SERVICE.python), "-P", "-m", SERVICE.qualified("api")],
        pid_file=directory / f"api-{port}.pid",
        output=directory / "api.log",
        env=SERVICE.environment({**env, "AGENTS_API_PORT": str(port)}),
        cwd=SERVICE.folder,
    )
    try:
        with httpx2.Client(base_url=f"http://{LOOPBACK}:{port}", timeout=30) as http:
            _await(http, child, directory)
            http.child = child  # type: ignore[attr-defined]
            yield http
    finally:
        child.kill()


def _await(http: httpx2.Client, child: Fork, directory: Path) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            if http.get("/health").status_code == 200:
                return
        except httpx2.TransportError as error:
            if child.returncode is not None or time.monotonic() > until:
                log = (directory / "api.log").read_text()
                raise RuntimeError(log) from error
        time.sleep(0.05)


def main() -> None:
    """Print a key: ``python -m tests.support.api DATABASE_URL ROLE``."""
    print(made_key(sys.argv[1], Role(sys.argv[2])))


if __name__ == "__main__":
    main()
