"""The service's Celery app, ``celery -A app …``: made on first use, from the environment.

``install`` adds the service to another app.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "install":
        from app.embedding import install

        return install
    if name != "celery":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from app.concurrency.garbage import no_collections
    from celery_agents.said import said_to_commands

    with said_to_commands(), no_collections():
        from app.factory import create_app
        from app.settings import read_settings

        app = create_app(read_settings())
    globals()[name] = app
    return app
