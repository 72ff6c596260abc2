from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from deploy.release import __main__ as release
from deploy.release import building, licences, materials, versions

BOM = {"metadata": {"component": {"name": "x", "version": "1"}}, "components": []}


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is slow, and tested by itself."""

    def build_twice(root: Path, out: Path) -> dict[str, str]:
        out.mkdir()
        (out / "x.whl").write_bytes(b"x")
        return building.digests(out)

    monkeypatch.setattr(building, "build_twice", build_twice)
    monkeypatch.setattr(building, "uncommitted", lambda _: ["x.py is not committed"])
    monkeypatch.setattr(versions, "undated", lambda _: ["no date"])
    monkeypatch.setattr(materials, "of", lambda *_: BOM)


def test_what_stands_against_it_is_told_and_nothing_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert release.main(["--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told == ["release: x.py is not committed", "release: no date"]
    assert not (tmp_path / "out").exists()


def test_a_draft_is_built(tmp_path: Path) -> None:
    assert release.main(["--out", str(tmp_path / "out"), "--draft"]) == 0
    digest = hashlib.sha256(b"x").hexdigest()
    assert (tmp_path / "out" / release.SUMS).read_text() == f"{digest}  x.whl\n"
    told = json.loads((tmp_path / "out" / release.SBOM).read_text())
    (built,) = told["metadata"]["component"]["externalReferences"]
    assert (built["url"], built["hashes"][0]["content"]) == ("x.whl", digest)


@pytest.mark.parametrize(
    ("module", "name"), [(licences, "refused"), (versions, "disagreements")], ids=["l", "v"]
)
def test_a_draft_has_allowed_licences_and_one_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    monkeypatch.setattr(module, name, lambda _: ["something"])
    assert release.main(["--out", str(tmp_path / "out"), "--draft"]) == 1
    assert not (tmp_path / "out").exists()
