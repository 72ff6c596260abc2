"""``python -P -m api``: serve the API on one process."""

from __future__ import annotations

import sys

from api.application import create_api
from api.streams.leaving import serve
from app.concurrency.garbage import spare_garbage_collection
from app.settings import read_settings
from app.telemetry.set_up import set_up_root
from celery_agents.errors import ConfigurationError


def main() -> None:
    """Serve until asked to stop."""
    try:
        settings = read_settings()
        app = create_api(settings)
    except ConfigurationError as error:
        sys.exit(f"{error.kind}: {error}")
    set_up_root(settings.log)
    spare_garbage_collection()
    serve(app, settings.api_host, settings.api_port)


if __name__ == "__main__":
    main()
