from __future__ import annotations

import gc
import subprocess
import sys

from app.concurrency.garbage import GARBAGE, no_collections

_CODE = """
import gc
from app.concurrency.garbage import spare_garbage_collection
spare_garbage_collection()
print(gc.get_freeze_count() > 1000, gc.get_threshold())
"""


def test_what_is_imported_is_exempt_and_collections_are_seldom() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.split(maxsplit=1) == ["True", f"{GARBAGE}\n"]


def test_whoever_has_stopped_collections_goes_on_without() -> None:
    gc.disable()
    try:
        with no_collections():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
