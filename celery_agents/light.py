"""Values that are made for every step: frozen where it is checked, and light to make.

A frozen dataclass is made by a call of ``object.__setattr__`` for each field: one of thirteen
fields takes 7 µs, and 1 µs if it is not frozen. A step makes six such values of eighty fields in
all. That nobody changes them is seen by the type checker, which reads :func:`light` as
:func:`dataclasses.dataclass`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as light
else:
    from dataclasses import dataclass

    def light(*, frozen: bool = False, **options: Any) -> Any:
        """A dataclass whose values are frozen to the type checker alone; equal ones hash equal."""
        return dataclass(unsafe_hash=frozen, **options)


__all__ = ["light"]
