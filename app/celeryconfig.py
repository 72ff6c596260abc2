"""Celery's settings, each with its reason; docs/settings.md lists them."""

from __future__ import annotations

from typing import Any

from kombu import Exchange, Queue

from app.layout import qualified
from app.settings import Settings
from beat_schedules import schedule
from celery_agents import names
from celery_agents.transport import transport_options

#: Named, not imported: imports run downwards, and Celery imports them when it needs them.
TASKS = qualified("tasks")
BACKEND = qualified("app.messaging.results:JournalBackend")
TRANSPORT = qualified("app.messaging.transport:Transport")
CONSUMER = qualified("app.messaging.consumer:Consumer")


def celery_config(settings: Settings) -> dict[str, Any]:
    """The configuration of an app for these settings."""
    broker_url = settings.broker.broker_url
    return {
        # Where
        "broker_url": broker_url,
        "result_backend": f"{BACKEND}+{broker_url}",
        "include": [TASKS],
        # JSON only: a pickle in the broker would run anything in the worker.
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # Queues: control messages never wait behind work.
        # Each with its own exchange: two queues of one binding would each get every message.
        "task_queues": [
            Queue(name, Exchange(name), routing_key=name)
            for name in (settings.queue, names.CONTROL_QUEUE)
        ],
        "task_default_queue": settings.queue,
        "task_routes": {task: {"queue": names.CONTROL_QUEUE} for task in names.CONTROL_TASKS},
        "task_create_missing_queues": True,  # agents that are other apps' tasks have their own
        "task_default_priority": 5,  # the middle of 0 (first) to 9; unset would mean first
        # A link of a chain has its own priority: another app may not read the lists of ours.
        "task_inherit_parent_priority": False,
        # Delivery: the row is the truth, these make recovery cheap.
        "task_acks_late": True,  # a worker that dies before the ack leaves the message
        "task_reject_on_worker_lost": True,  # so does a prefork child
        "task_acks_on_failure_or_timeout": True,  # False loops: the same failure for ever
        "worker_prefetch_multiplier": 1,  # no hoarding of messages that others could run
        "worker_disable_prefetch": True,  # take a message when a slot is free, not before
        "worker_deduplicate_successful_tasks": False,  # the claim does it, for every state
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # True loses work
        # A prefork child opens the journal before it is up; on a busy machine 4 s were too few, and
        # Celery kills a child that is late.
        "worker_proc_alive_timeout": 60.0,
        "worker_soft_shutdown_timeout": 30.0,  # running steps may end; host grace 90 s and more
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # outlive any outage; the default gives up
        "broker_channel_error_retry": True,  # so is a Redis that takes no writes: it is full, say
        # It takes in one step, and keeps dead letters.
        "broker_transport": TRANSPORT,
        # A malformed task must not end the worker.
        "worker_consumer": CONSUMER,
        "broker_transport_options": {
            **transport_options(
                visibility_timeout_s=settings.visibility_timeout_s,
                redis_timeout_s=settings.redis_timeout_s,
            ),
            "message_limit_bytes": settings.message_limit_bytes,
            "dead_letters_max": settings.dead_letters_max,
            "poll_interval_s": settings.poll_interval_s,
            "lease_s": settings.lease_s,  # so long does what it holds of tenants count
        },
        "task_publish_retry_policy": {  # a publish that fails is made good by recovery
            "max_retries": 3,
            "interval_start": 0.1,
            "interval_step": 0.3,
            "interval_max": 1.0,
        },
        # Results
        "result_expires": settings.result_expires_s,
        "result_chord_expires": settings.result_expires_s,  # above the longest chord
        "result_backend_always_retry": True,  # a Redis that is away for a moment costs no result
        "result_backend_max_retries": 10,
        "redis_socket_timeout": settings.redis_timeout_s,
        "redis_socket_connect_timeout": settings.redis_timeout_s,
        "redis_socket_keepalive": True,
        "redis_retry_on_timeout": True,
        # What people see
        "task_track_started": False,  # the journal and the events say it; it costs a round trip
        "worker_send_task_events": False,  # Flower turns them on; unwatched they cost a tenth
        "task_send_sent_event": False,
        "task_store_errors_even_if_ignored": False,
        "worker_hijack_root_logger": False,
        "worker_enable_remote_control": True,
        # Beat that may run twice: redbeat holds its schedule and its lock in Redis.
        "beat_scheduler": qualified("app.maintenance.beat:BeatScheduler"),  # outlives Redis
        "beat_schedule": schedule(
            health_s=settings.health_interval_s,
            clean_s=settings.clean_interval_s,
            count_s=settings.stats_interval_s,
        ),
        # Celery's reports show it as it is. Nobody connects by it: AgentsCelery makes the client.
        "redbeat_redis_url": settings.broker.shown_url,
        "redbeat_key_prefix": "agents:beat:",
        "redbeat_lock_timeout": settings.beat_lock_s,
        "beat_max_loop_interval": settings.beat_lock_s / 6,  # the lock is renewed at each loop
        "timezone": "UTC",
    }
