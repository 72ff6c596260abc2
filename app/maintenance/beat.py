"""Beat that outlives its Redis: it waits for one that is away, and for its lock in a new one.

redbeat's own ends when it cannot extend its lock, and writes its schedule at its start alone.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import beat_init
from redbeat.schedulers import (
    LUA_EXTEND_TO_SCRIPT,
    RedBeatScheduler,
    acquire_distributed_beat_lock,
    get_redis,
)
from redis.exceptions import LockError, RedisError

from app.telemetry.starting import starting
from celery_agents.noted import note, noting

log = logging.getLogger(__name__)

#: Seconds between two looks whether Redis, or the lock, can be had again.
PAUSE_S = 1.0
_AWAY = (RedisError, OSError)

# redbeat's takes the lock at its start alone, and fails there while Redis is away: ``_ready`` does.
beat_init.disconnect(acquire_distributed_beat_lock)


class BeatScheduler(RedBeatScheduler):
    """redbeat's scheduler, which survives errors that may pass."""

    lock: Any
    _lost = False  # its lock, or its schedule, has to be made anew

    def setup_schedule(self) -> None:
        """As redbeat's; later where Redis is away.

        Raises:
            SystemExit: no waiting helps, and the log says why.
        """
        try:
            with starting("Beat"):
                super().setup_schedule()
        except _AWAY as error:
            self._lost = True
            note(log, "beat_away", "Beat waits for Redis", error=error)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """As redbeat's; seconds until the next one."""
        try:
            if not self._ready():
                return PAUSE_S
            due: float = super().tick(*args, **kwargs)
        except LockError as error:  # Redis lost it, or another beat took it over
            self._lost = True
            note(log, "beat_lock", "Beat has lost its lock, and takes it again", error=error)
        except _AWAY as error:
            note(log, "beat_away", "Beat waits for Redis", error=error)
        else:
            return due
        return PAUSE_S

    def _ready(self) -> bool:
        """Have lock and schedule, where they were lost; False while another beat has the lock."""
        if not self._lost and (self.lock or not self.lock_key):
            return True
        if self.lock_key:
            self.lock = self.lock or self._new_lock()
            if not self.lock.owned():
                if not self.lock.acquire(blocking=False):
                    return False
                log.info("Beat has its lock")
        self._lost = False
        self.setup_schedule()
        return not self._lost

    def _new_lock(self) -> Any:
        redis = get_redis(self.app)
        lock = redis.lock(self.lock_key, timeout=self.lock_timeout, sleep=self.max_interval)
        lock.lua_extend = redis.register_script(LUA_EXTEND_TO_SCRIPT)  # as redbeat's has it
        return lock

    def close(self) -> None:
        """As redbeat's; without Redis the lock expires by itself."""
        with noting(log, "beat_close", "Beat's lock was not given back", *_AWAY):
            super().close()
