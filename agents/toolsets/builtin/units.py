"""Values in units, by pint; its reader of numbers is not let near: ``10**10**10`` would hang it."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from agents.tools.calls import ToolError
from agents.toolsets.builtin.expressions import shown, value_of
from celery_agents.contracts.nearest import meant

_UNIT = re.compile(r"[A-Za-zµμΩ°Å%_ /*·().]+(?:(?:\^|\*\*)-?\d{1,2}[A-Za-zµμΩ°Å%_ /*·().]*)*")
#: A power of a power is a bomb, and no unit.
_TOWER = re.compile(r"\d[ )]*(?:\^|\*\*)")
_MAX_LENGTH = 60


def converted(value: str, unit: str, to: str) -> dict[str, str]:
    """The value in another unit.

    Raises:
        ToolError: there is no such unit, or it is one of something else.
    """
    number = float(value_of(value))
    source, _ = _unit(unit)
    target, sign = _unit(to)
    if source.dimensionality != target.dimensionality:
        told = f"{source.dimensionality} is not {target.dimensionality}"
        raise ToolError(f"{unit} cannot be converted to {to}: {told}.")
    found = _registry().Quantity(number, source).to(target)
    return {"value": shown(float(found.magnitude), 12), "unit": sign or to}


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True, cache_folder=None)


@lru_cache(256)
def _unit(name: str) -> tuple[Any, str]:
    """The unit of that name, and its sign."""
    registry = _registry()
    fits = len(name) <= _MAX_LENGTH and _UNIT.fullmatch(name.strip())
    if not fits or _TOWER.search(name):
        raise ToolError(f"{name[:_MAX_LENGTH]!r} is no unit. Write e.g. km/h, m^2, degC, kWh.")
    try:
        found = registry.Unit(name.strip().replace("·", "*"))
    except Exception:  # noqa: BLE001 - pint's reader raises what its tokens make it
        near = meant(name, dir(registry), repr)
        raise ToolError(f"There is no unit {name!r}{near}") from None
    return found, f"{found:~P}"
