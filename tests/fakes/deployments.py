"""A model server with several keys: each does as it is told, and counts what comes at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.fakes.model_server import Does, ModelServer, Seen


@dataclass
class Key:
    """One key of the server, and what was seen of it."""

    does: tuple[Does, ...] = (Does(text="ok"),)  # one for each request, the last one repeating
    takes_s: float = 0.0
    requests: int = 0
    most: int = 0  # at once
    now: int = 0


class Deployments(ModelServer):
    """Answers each key in its own way; a key that nobody has told of answers "ok"."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Key] = {}
        self.models: Counter[str] = Counter()
        self._counting = threading.Lock()

    def forget(self) -> None:
        """Forget what was told and seen."""
        with self._counting:
            self.keys.clear()
            self.models.clear()

    def key(self, secret: str) -> Key:
        """The key of that secret."""
        with self._counting:
            return self.keys.setdefault(secret, Key())

    def next(self, seen: Seen) -> Does | None:
        told = seen.headers.get("authorization", "").removeprefix("Bearer ")
        key = self.key(told or seen.headers.get("x-api-key", ""))
        with self._counting:
            key.requests += 1
            key.now += 1
            key.most = max(key.most, key.now)
            self.models[str(seen.body.get("model"))] += 1
            self.requests.append(seen)
        self.requested.set()
        time.sleep(key.takes_s)
        with self._counting:
            key.now -= 1
            does, rest = key.does[0], key.does[1:]
            key.does = rest or key.does
        return does


@contextmanager
def deployments() -> Iterator[Deployments]:
    """A server that runs in the background for the length of a `with`."""
    server = Deployments()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.close()
