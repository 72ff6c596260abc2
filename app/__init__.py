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
    from celery_agents.errors import ConfigurationError
    from celery_agents.said import is_command

    try:
        with no_collections():
            from app.factory import create_app
            from app.settings import read_settings

            app = create_app(read_settings())
    except ConfigurationError as error:
        if is_command():  # Celery would show where in our code it was raised
            raise SystemExit(f"{error.kind}: {error}") from None
        raise
    globals()[name] = app
    return app
