"""Prometheus of this machine and its tool; ``apt-get install prometheus`` gives both."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port

PROMTOOL = shutil.which("promtool")
PROMETHEUS = shutil.which("prometheus")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not here: apt-get install prometheus"
)
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is not here: apt-get install prometheus"
)


def promtool(*args: str, text: str | None = None) -> str:
    """Its words on a file or a page; "" where it finds nothing wrong.

    Raises:
        AssertionError: it finds something.
    """
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *args], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """A server that scrapes what it is told to, every three seconds."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **query: str) -> Any:
        """The data of its API."""
        asked = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Any]:
        """The samples of an expression now."""
        found: list[Any] = self.ask("query", query=expression)["result"]
        return found

    def up(self, job: str) -> bool:
        """Return whether all targets of a job were scraped."""
        with suppress(OSError):
            found = self.query(f'up{{job="{job}"}}')
            return bool(found) and all(sample["value"][1] == "1" for sample in found)
        return False


@contextmanager
def scraping(
    folder: Path, jobs: dict[str, str], rules: Sequence[Path] = ()
) -> Iterator[Prometheus]:
    """Run one; ``jobs`` are names and where each is scraped, as ``host:port/path``."""
    config = folder / "prometheus.yml"
    scrapes = [
        {
            "job_name": job,
            "metrics_path": "/" + where.partition("/")[2],
            "static_configs": [{"targets": [where.partition("/")[0]]}],
        }
        for job, where in jobs.items()
    ]
    # A scrape may take as long as the next one is away, and a busy machine is slow.
    times = {"scrape_interval": "3s", "scrape_timeout": "3s", "evaluation_interval": "3s"}
    about = {"global": times, "rule_files": [str(r) for r in rules], "scrape_configs": scrapes}
    config.write_text(json.dumps(about))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    assert PROMETHEUS is not None
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Prometheus(f"http://{address}")
        finally:
            server.terminate()
            server.wait(30)
