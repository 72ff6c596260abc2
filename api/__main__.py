"""``python -P -m api``: serve the API on one process."""

from __future__ import annotations

import sys

import uvicorn

from api.application import create_api
from app.concurrency.garbage import spare_garbage_collection
from app.settings import read_settings
from app.telemetry.set_up import set_up_root
from celery_agents.errors import ConfigurationError

#: Seconds that requests under way may take when it is asked to stop: streams never end by
#: themselves, and whoever reads one goes on elsewhere.
_GRACE_S = 10


def main() -> None:
    """Serve until asked to stop."""
    try:
        settings = read_settings()
        app = create_api(settings)
    except ConfigurationError as error:
        sys.exit(f"{error.kind}: {error}")
    set_up_root(settings.log)
    spare_garbage_collection()
    # Its log is ours: redacted, and in the same form. Without uvicorn's own access log: a query may
    # hold what belongs in no log.
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


if __name__ == "__main__":
    main()
