"""``plugin.json``: what the plug-in of a folder says of itself."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from celery_agents.contracts.base import Contract, mistakes
from celery_agents.errors import ConfigurationError

FILE = "plugin.json"
#: More than any list of names takes.
_BYTES = 256 * 1024
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$"
_PLACE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?$"
#: What is offered, by name: ``module:name`` or ``module`` of the folder; ``.`` is the folder's own
#: ``__init__.py``, so that ``.:weather`` stands there.
Offered = dict[
    Annotated[str, Field(pattern=_NAME)],
    Annotated[str, Field(pattern=rf"{_PLACE}|^\.(:[A-Za-z_]\w*)?$", max_length=200)],
]


class Manifest(Contract):
    """A plug-in's name, and what it offers; fields that are not known are refused."""

    name: Annotated[str, Field(pattern=_NAME)]
    version: Annotated[str, Field(max_length=60)] = ""
    description: Annotated[str, Field(max_length=1_000)] = ""
    agents: Offered = Field(default_factory=dict)
    tools: Offered = Field(default_factory=dict)
    kinds: Offered = Field(default_factory=dict)
    providers: Offered = Field(default_factory=dict)
    patterns: Offered = Field(default_factory=dict)
    memory: Offered = Field(default_factory=dict)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        ConfigurationError: it cannot be read, or a field is wrong; it names the file.
    """
    path = folder / FILE
    try:
        with os.fdopen(_opened(path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigurationError(f"{path} is no file.")
            text = file.read(_BYTES + 1)
        if len(text) > _BYTES:
            raise ConfigurationError(f"{path} is longer than {_BYTES} bytes.")
        return Manifest.model_validate(json.loads(text))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        place, why = mistakes(error, Manifest)[0]
        where = "" if place == "payload" else f"{place}: "
        raise ConfigurationError(f"{path}: {where}{why}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is no JSON: {type(error).__name__}.") from None


def _opened(path: Path) -> int:
    """Open it without waiting for whoever would write into a pipe of that name."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
