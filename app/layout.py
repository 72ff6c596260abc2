"""Names of the service's modules as text, for what Celery imports by name.

In a checkout the packages stand at the top level, in the wheel below ``celery_agents.service``.
"""

from __future__ import annotations

#: What stands before ``app`` and ``tasks`` in the names of modules, with its dot; or nothing.
ABOVE = __name__.removesuffix("app.layout")


def qualified(path: str) -> str:
    """The full name of ``package.module`` or ``package.module:attribute``.

    >>> qualified("app.pool:CoroutinePool").endswith("app.pool:CoroutinePool")
    True
    """
    return ABOVE + path
