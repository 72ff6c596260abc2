"""Making the Celery app for given settings, and starting and ending its processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery, bootsteps, current_app, signals

from app.celeryconfig import celery_config
from app.concurrency.garbage import spare_garbage_collection
from app.execution.attempts.own_wakes import TakesOwnWakes
from app.execution.cancels import Cancellations
from app.execution.request import StepRequest
from app.execution.runtime import close_runtime, runtime_of
from app.execution.shutdown import drain_later, listen
from app.layout import qualified
from app.maintenance.endpoint import Endpoint
from app.maintenance.projecting import Projector
from app.maintenance.recovery import Recovery
from app.messaging.json_codec import register_json
from app.messaging.producer import AgentsCelery, Serving
from app.messaging.redis import check_broker
from app.messaging.sharing import OfRequests, Sharing
from app.messaging.transport import Transport
from app.plugins import serve_patterns
from app.pool.default import choose_pool
from app.pool.slots import PREFORK, keep_worker
from app.settings import Settings
from app.telemetry.children import Children
from app.telemetry.lines import hush_http
from app.telemetry.logs import be_discreet
from app.telemetry.set_up import write_log
from app.telemetry.starting import starting
from app.watching.tracing import tracing_of

if TYPE_CHECKING:
    from app.maintenance.trace_process import TraceProcess


def create_app(settings: Settings) -> Celery:
    """The application of these settings. Nothing is connected, no task is imported yet."""
    register_json()
    hush_http()
    app = AgentsCelery("celery-agents")
    app.agents_settings = settings
    app.broker_address = app.results_address = settings.broker
    app.seals = settings.seals
    app.config_from_object(celery_config(settings))
    serve(app)
    app.set_default()
    return app


def serve(app: Serving) -> None:
    """Have the workers of an app serve the agents, and its command line know the journal."""
    write_log()
    app.agents_cli = qualified("app.cli.commands:commands")
    app.steps["worker"].add(AgentsService)
    app.steps["consumer"].add(Cancellations)
    app.steps["consumer"].add(Weights)
    app.steps["consumer"].add(TakesOwnWakes)
    serve_patterns(app)


class AgentsService(bootsteps.StartStopStep):
    """Runtime, recovery and endpoint in the worker's main process."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        be_discreet()
        worker.app.agents_nodename = worker.hostname  # children have their leases under it too
        self.recovery: Recovery | None = None
        self.projector: Projector | None = None
        self.endpoint: Endpoint | None = None
        self.traces: TraceProcess | None = None
        self.children: Children | None = None
        if worker.app.agents_settings.health_port and worker.pool_cls.__module__ == PREFORK:
            self.children = worker.app.agents_children = Children()  # before they are forked
        if tracing_of() is not None:
            from app.maintenance.trace_process import TraceProcess

            self.traces = TraceProcess(worker.app)

    def create(self, worker: Any) -> None:
        """Take more messages than there are slots, for the pool to begin ahead."""
        if not worker.autoscale and (ahead := getattr(worker.pool, "ahead", 0)):
            worker.max_concurrency = worker.concurrency + ahead

    def start(self, worker: Any) -> None:
        """Check the addresses, then start runtime, endpoint and recovery.

        Raises:
            SystemExit: it cannot, and the log says why.
        """
        with starting("The worker"):
            self._start(worker)

    def _start(self, worker: Any) -> None:
        check_broker(worker.app.agents_settings)
        runtime = runtime_of(worker.app, worker.hostname)
        if (permits := getattr(worker.pool, "permits", None)) is not None:
            permits.weights = runtime.agents.registry.weights
        spare_garbage_collection()
        if runtime.settings.health_port:
            self.endpoint = Endpoint(runtime)
            self.endpoint.start()
        if self.children is not None and runtime.metrics is not None:
            self.children.listen(runtime.metrics)
        self.recovery = Recovery(runtime)
        self.recovery.start()
        self.projector = Projector(runtime)
        self.projector.start()
        if self.traces is not None and runtime.metrics is not None:
            self.traces.listen(runtime.metrics)

        def shutting_down(**_: Any) -> None:
            """Bound how long a warm shutdown waits for running steps."""
            drain_later(runtime, worker.pool)

        signals.worker_shutting_down.connect(shutting_down, weak=False)

    def stop(self, worker: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Stop recovery, traces and the endpoint."""
        if self.recovery is not None:
            self.recovery.stop()
        if self.projector is not None:
            self.projector.stop()
        if self.traces is not None:
            self.traces.stop()
        if self.endpoint is not None:
            self.endpoint.stop()
        if self.children is not None:
            self.children.close()

    terminate = stop


class Weights(bootsteps.StartStopStep):
    """Tells a worker's transport what tenants weigh, and who knows what slots they use."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, consumer: Any) -> None:
        """Tell the connection that messages are taken from."""
        transport = consumer.connection.transport
        if isinstance(transport, Transport):
            weights = runtime_of(consumer.app, consumer.hostname).agents.registry.weights
            slots = getattr(consumer.pool, "permits", None)
            if slots is None:
                slots = StepRequest.slots = StepRequest.slots or OfRequests()
            transport.sharing = Sharing(weights, slots)


signals.worker_init.connect(choose_pool)
signals.worker_init.connect(keep_worker)


@signals.worker_process_init.connect
def _child_started(**_: Any) -> None:
    """Make the runtime of a prefork child before its first step, not during it."""
    if hasattr(current_app, "agents_settings"):
        app = current_app._get_current_object()  # noqa: SLF001 - Celery's way to it
        runtime = runtime_of(app, getattr(app, "agents_nodename", None))
        listen(app)
        if (parent := _parent(app)) is not None and runtime.metrics is not None:
            parent.begin(lambda: runtime.told)
        spare_garbage_collection()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _process_stops(**_: Any) -> None:
    """Give back what still runs, after the pool has ended, and close the journal."""
    app = current_app._get_current_object()  # noqa: SLF001 - Celery's way to it
    close_runtime(app)
    if (parent := _parent(app)) is not None:
        parent.end()


def _parent(app: Any) -> Children | None:
    return getattr(app, "agents_children", None)
