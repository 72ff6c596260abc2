"""PgBouncer of this machine; ``apt-get install pgbouncer`` gives it."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from deploy.local.child import Child
from deploy.local.servers import LOOPBACK
from tests.support.ports import free_port
from tests.support.postgres import engine, unprivileged_user

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(
    PGBOUNCER is None, reason="pgbouncer is not here: apt-get install pgbouncer"
)
_CONFIG = """
[databases]
{database} = host={host} port={port} dbname={database} user={user} password={password}
[pgbouncer]
listen_addr = {listen}
listen_port = {own_port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
default_pool_size = {size}
"""


@contextmanager
def pooled(url: str, size: int) -> Iterator[str]:
    """The address of a database behind a pooler that lends ``size`` connections by transaction."""
    server, user = make_url(url), unprivileged_user()
    assert PGBOUNCER is not None
    folder = Path(tempfile.mkdtemp(prefix="celery-agents-pooler-"))
    (folder / "users").write_text(f'"{server.username}" "{server.password}"\n')
    own_port = free_port()
    about: dict[str, object] = {"database": server.database, "host": server.host}
    about |= {"port": server.port or 5432}
    about |= {"user": server.username, "password": server.password, "size": size}
    about |= {"listen": LOOPBACK, "own_port": own_port, "users": folder / "users"}
    (folder / "pooler.ini").write_text(_CONFIG.format(**about))
    for path in (folder, *folder.iterdir()):
        if user is not None:
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
    child = Child(
        [PGBOUNCER, str(folder / "pooler.ini")],
        pid_file=folder / "pooler.pid",
        output=folder / "pooler.log",
        cwd=folder,
        user=user,
    )
    try:
        found = server.set(host=LOOPBACK, port=own_port).render_as_string(hide_password=False)
        _wait(child, found, folder / "pooler.log")
        yield found
    finally:
        child.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(child: Child, url: str, log: Path) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            engine(url).connect().close()
        except OperationalError as error:
            if time.monotonic() > until or child.returncode is not None:
                raise RuntimeError(log.read_text(errors="replace")) from error
            time.sleep(0.05)
        else:
            return
