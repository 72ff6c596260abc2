"""The bill of materials: CycloneDX, by uv from the lock file, with licences and our own digests."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.release import licences
from deploy.release.building import installer

_HOME = uuid.uuid5(uuid.NAMESPACE_URL, "pkg:pypi/celery-agents")


class NoLockError(Exception):
    """uv could not read the lock file."""


def of(root: Path, time: int) -> dict[str, Any]:
    """Return what all extras bring, in the versions of the lock file.

    Raises:
        NoLockError: the lock file cannot be read, or is not of this project file.
    """
    command = [installer(), "export", "--quiet", "--locked", "--offline", "--project", str(root)]
    what = ["--no-dev", "--all-extras", "--format", "cyclonedx1.5"]
    done = subprocess.run([*command, *what], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoLockError(done.stderr.strip())
    bom: dict[str, Any] = json.loads(done.stdout)
    bom["metadata"]["timestamp"] = datetime.fromtimestamp(time, UTC).isoformat()
    for component in bom["components"]:
        if expression := licences.of(component["name"]):
            component["licenses"] = [{"expression": expression}]
    return bom


def named(bom: Mapping[str, Any]) -> list[str]:
    """Return the names of all packages."""
    return [component["name"] for component in bom["components"]]


def text(bom: Mapping[str, Any], sums: Mapping[str, str]) -> str:
    """Return it as JSON, with what was built; the same for the same."""
    own = bom["metadata"]["component"]
    built = [
        {"type": "distribution", "url": name, "hashes": [{"alg": "SHA-256", "content": digest}]}
        for name, digest in sorted(sums.items())
    ]
    licence = [{"expression": "MIT"}]
    purl = f"pkg:pypi/{own['name']}@{own['version']}"
    own = {**own, "purl": purl, "licenses": licence, "externalReferences": built}
    whole = {**bom, "metadata": {**bom["metadata"], "component": own}}
    whole.pop("serialNumber", None)
    serial = uuid.uuid5(_HOME, json.dumps(whole, sort_keys=True))
    return json.dumps({**whole, "serialNumber": f"urn:uuid:{serial}"}, indent=1) + "\n"
