"""The API against its own description: ``python -m tests.support.api_schema``.

Its arguments may be left out: sqlite or postgres, examples, a pattern of paths, one role alone.
It starts servers, a worker and the API, and lets schemathesis ask all routes (50 examples each), as
three principals: an admin of all tenants, a user of one, and somebody who only reads.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.access.permissions import Role
from tests.integration.harness import Stack
from tests.support.api import made_key, served
from tests.support.postgres import serving
from tests.support.redis_server import RedisServer
from tests.support.workers import migrate

#: Tenants of the principals.
PRINCIPALS = ((Role.ADMIN, None), (Role.USER, "acme"), (Role.READONLY, "acme"))
#: A body that its description allows may still contradict itself: 422.
#: Of MCP's messages only some have a meaning, and only sessions have streams: 400, 405, 406.
#: And a run that is deleted is cancelled: it is kept for those who ask how it ended.
CONFIG = """
[checks.use_after_free]
enabled = false

[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 422]

[[operations]]
include-path-regex = "^/mcp$"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 405, 406, 422]

[[operations]]
include-path-regex = "^/v1/"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 409, 500, 504]
"""


@contextmanager
def _journal(kind: str, directory: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{directory / 'journal.db'}"
        return
    with serving() as server:
        assert server is not None
        url = server.create()
        yield url
        server.drop(url)


def main(kind: str = "sqlite", most: str = "50", paths: str = "", only: str = "") -> int:
    """Run it, of all routes or of those whose paths fit a pattern; its exit code.

    ``only``: as the principal of that role, instead of all three.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(RedisServer(directory / "broker", databases=2))
        url = stack.enter_context(_journal(kind, directory))
        migrate(url)
        made = Stack(broker.url, url, directory)
        stack.callback(made.close)
        made.worker()
        env = {name: made.env[name] for name in ("REDIS_URL", "DATABASE_URL")}
        http = stack.enter_context(served(env, directory))
        (directory / "schemathesis.toml").write_text(CONFIG)
        keys = [
            made_key(url, role, tenant=tenant) for role, tenant in PRINCIPALS if only in {"", role}
        ]
        return max(_asked(f"{http.base_url}", key, most, directory, paths) for key in keys)


def _asked(url: str, key: str, most: str, directory: Path, paths: str) -> int:
    program = str(Path(sys.executable).parent / "st")
    config = ["--config-file", str(directory / "schemathesis.toml")]
    about = ["--max-examples", most, "--header", f"Authorization: Bearer {key}", "--no-color"]
    about += ["--include-path-regex", paths] if paths else []
    place = f"{url.rstrip('/')}/openapi.json"
    return subprocess.run([program, *config, "run", place, *about], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
