from __future__ import annotations

import pytest

from deploy.local.state import ROOT
from deploy.release import licences, materials
from tests.support.validators import needs


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only AND MIT", False),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("MIT AND (GPL-3.0-only OR AGPL-3.0-only)", False),
        ("(MIT", False),
        ("GPL-3.0-only OR MIT AND ISC", True),
        ("LGPL-3.0-or-later WITH LGPL-3.0-linking-exception", True),
        ("GPL-3.0-only WITH GCC-exception-3.1", False),
        ("", False),
    ],
)
def test_expressions(expression: str, allowed: bool) -> None:
    assert licences.allows(expression) is allowed


@needs("uv")
def test_all_that_a_release_brings_is_allowed() -> None:
    packages = materials.named(materials.of(ROOT, 0))
    assert len(packages) > 100
    assert licences.refused(packages) == []


def test_what_is_not_allowed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = {k: v for k, v in licences.ALLOWED.items() if k != "LGPL-3.0-or-later"}
    monkeypatch.setattr(licences, "ALLOWED", allowed)
    assert licences.refused(["psycopg2-binary", "celery", "nobodys-package"]) == [
        "nobodys-package: no licence is known; read it, and note it in licences.py",
        "psycopg2-binary: LGPL-3.0-or-later is not allowed",
    ]


@needs("uv")
def test_each_reason_is_needed() -> None:
    packages = materials.named(materials.of(ROOT, 0))
    used = " ".join(str(licences.of(p)) for p in packages)
    assert [name for name in licences.ALLOWED if name not in used] == []
    assert set(licences.READ) | set(licences.ELSEWHERE) <= set(packages)
