"""Files that a local stack keeps: private directories, secrets, the environment of its clients."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: The checkout: the working directory of every process that is started.
ROOT = Path(__file__).resolve().parents[2]
#: What survives `./run up` and is removed by `./run clean`.
STATE = ROOT / ".local"


def private_directory(path: Path) -> Path:
    """The directory, made if need be, for its owner alone."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file by ``text`` in one step; nobody else may read it at any moment."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def kept_secret(path: Path) -> str:
    """The secret in a private file; a random one is made the first time."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8").strip()


def write_environment(path: Path, environ: Mapping[str, str]) -> None:
    """Leave variables for other terminals, which read them with ``. .local/env``."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(environ.items())]
    write_private(path, "".join(lines))


@contextmanager
def exported(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of this process, and put them back as they were."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
