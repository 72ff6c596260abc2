from __future__ import annotations

import importlib

import pytest

from app.execution.request import STEP_REQUEST
from app.layout import qualified
from app.pool.default import COROUTINES


def test_in_a_checkout_a_name_is_itself() -> None:
    assert qualified("app.pool:CoroutinePool") == "app.pool:CoroutinePool"


@pytest.mark.parametrize("path", [COROUTINES, STEP_REQUEST, qualified("app.cli.commands:commands")])
def test_what_is_named_is_there(path: str) -> None:
    module, _, attribute = path.partition(":")
    assert hasattr(importlib.import_module(module), attribute)
