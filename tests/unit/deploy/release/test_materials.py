from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from deploy.local.state import ROOT
from deploy.release import materials
from tests.support.validators import needs

pytestmark = needs("uv")

SUMS = {"celery_agents-1.whl": "ab" * 32, "celery_agents-1.tar.gz": "cd" * 32}


@pytest.fixture(scope="module")
def bom() -> dict[str, Any]:
    return materials.of(ROOT, 1_700_000_000)


def test_it_has_what_each_extra_names(bom: dict[str, Any]) -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    (own,) = [p for p in lock["package"] if p["name"] == "celery-agents"]
    needed = {d["name"] for d in own["dependencies"]}
    needed |= {d["name"] for e in own["optional-dependencies"].values() for d in e}
    assert needed <= set(materials.named(bom))
    assert "ruff" not in materials.named(bom)  # a tool of the checkout
    for component in bom["components"]:
        assert component["purl"] == f"pkg:pypi/{component['name']}@{component['version']}"
        hashes = [h for r in component["externalReferences"] for h in r["hashes"]]
        assert {h["alg"] for h in hashes} == {"SHA-256"}
        assert component["licenses"]


def test_the_same_is_told_in_the_same_bytes(bom: dict[str, Any]) -> None:
    again = materials.of(ROOT, 1_700_000_000)
    assert materials.text(bom, SUMS) == materials.text(again, SUMS)
    other = {**SUMS, "celery_agents-1.whl": "ef" * 32}
    serials = {json.loads(materials.text(bom, sums))["serialNumber"] for sums in (SUMS, other)}
    assert len(serials) == 2


def test_it_names_what_was_built(bom: dict[str, Any]) -> None:
    told = json.loads(materials.text(bom, SUMS))
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.5")
    own = told["metadata"]["component"]
    built = {r["url"]: r["hashes"][0]["content"] for r in own["externalReferences"]}
    assert built == SUMS
    assert own["licenses"] == [{"expression": "MIT"}]
    assert told["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    references = {c["bom-ref"] for c in [own, *told["components"]]}
    assert {d["ref"] for d in told["dependencies"]} <= references


def test_a_lock_file_of_another_project_file_is_refused(tmp_path: Path) -> None:
    for name in ("uv.lock", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    text = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(text.replace('"flower>=2.1"', '"flower>=2.2"'))
    with pytest.raises(materials.NoLockError):
        materials.of(tmp_path, 0)
