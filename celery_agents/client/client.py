"""The client: ask agents from any Python program, with Celery and pydantic alone.

agents = Client("redis://localhost:6379/0")
run = agents.ask("gpt", "What is the capital of France?")
print(run.get(timeout=60))
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Generic, Self, TypeVar

from celery import Signature
from kombu.exceptions import BatchPublishError, OperationalError
from redis.exceptions import RedisError

from celery_agents import names
from celery_agents.client.run import AggregateRun, DecisionRun, MapRun, Run
from celery_agents.client.waiting import Waiting, one_by_one
from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.contracts.base import JsonValue, id_of
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.outcome import Outcome
from celery_agents.contracts.patterns import Fallback, Vote
from celery_agents.errors import IdInUseError, InvalidPayloadError, PayloadTooLargeError
from celery_agents.given import GivenCelery
from celery_agents.redis_url import LOCAL, REDIS_URL, read_redis_url
from celery_agents.transport import PRIORITY_STEPS, transport_options
from celery_agents.values import problem
from celery_agents.wire.messages import Draft, Message
from celery_agents.wire.results import Backend, backend_url, results_address
from celery_agents.wire.sending import send

R = TypeVar("R", bound=Run)

#: As the workers' own setting; above it a message is refused before it is sent.
PAYLOAD_LIMIT_BYTES = 256 * 1024


class Client:
    """Enqueues runs and reads their results, over the Redis that the workers use.

    Args:
        redis_url: broker and results; the environment's ``REDIS_URL`` when not given.
        queue: where the workers take steps from.
        result_url: when results are kept elsewhere.
        visibility_timeout_s: the workers' setting; it must be the same for one Redis.

    Raises:
        ConfigurationError: an address is none, or asks for what is not served.

    Each message is recorded in the same Redis transaction that enqueues it, so a worker that dies
    at the wrong moment does not lose it.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        queue: str = names.QUEUE,
        result_url: str | None = None,
        visibility_timeout_s: int = 7200,
        payload_limit_bytes: int = PAYLOAD_LIMIT_BYTES,
        redis_timeout_s: float = 5.0,
    ) -> None:
        if redis_url is None:
            self.address = read_redis_url(os.environ.get(REDIS_URL) or LOCAL)
        else:
            self.address = read_redis_url(redis_url, "redis_url (REDIS_URL)")
        self.payload_limit_bytes = payload_limit_bytes
        self.queue = queue
        results = results_address(result_url, self.address)
        self.celery = GivenCelery("celery-agents-client", set_as_current=False)
        self.celery.broker_address, self.celery.results_address = self.address, results
        self.celery.config_from_object(
            {
                "broker_url": self.address.broker_url,
                "broker_transport": "celery_agents.transport:Transport",
                "broker_transport_options": transport_options(
                    visibility_timeout_s=visibility_timeout_s, redis_timeout_s=redis_timeout_s
                ),
                "broker_connection_timeout": 2.0,
                "result_backend": result_url if results is None else backend_url(results),
                "redis_socket_timeout": redis_timeout_s,
                "redis_socket_connect_timeout": 2.0,
                "task_serializer": "json",
                "result_serializer": "json",
                "accept_content": ["json"],
                "task_default_queue": queue,
                "task_default_priority": 5,
                "task_publish_retry": False,  # the transport tries again by itself, bounded
                "result_backend_thread_safe": True,
            }
        )
        self._waiting = Waiting(self.celery)
        self.ask = AskPattern(self, names.ASK, Ask, Run)
        self.fallback = FallbackPattern(self, names.FALLBACK, Fallback, Run)
        self.vote = VotePattern(self, names.VOTE, Vote, DecisionRun)
        self.gather = GatherPattern(self, names.GATHER, Gather, AggregateRun)
        self.map = MapPattern(self, names.MAP, Map, MapRun)

    def run(self, run_id: str) -> Run:
        """A run that was enqueued before, by its id.

        Raises:
            InvalidPayloadError: it is no id.
        """
        return Run(self, id_of(run_id))

    def as_completed(self, runs: Iterable[R], *, timeout: float | None = None) -> Iterator[R]:
        """Runs as they end, in few round trips; their ``get`` then returns, or raises, at once.

        Raises:
            ResultTimeoutError: not all ended within ``timeout`` seconds; they go on.
        """
        backend = self.celery.backend
        if isinstance(backend, Backend):
            return self._waiting.as_completed(runs, timeout)
        return one_by_one(runs, timeout)  # results are kept elsewhere than in Redis

    def collect(
        self,
        runs: Iterable[Run],
        *,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """The values of many runs, in the order of the runs.

        With ``return_exceptions``, as in asyncio's ``gather``, errors stand among the values
        instead of the first one being raised.

        Raises:
            ResultTimeoutError: not all ended within ``timeout`` seconds; they go on.
            AgentsError: a run failed; the others go on.
        """
        runs = [*runs]
        values: dict[str, Any] = {}
        for run in self.as_completed(runs, timeout=timeout):
            try:
                values[run.id] = run.get()
            except Exception as error:
                if not return_exceptions:
                    raise
                values[run.id] = error
        return [values[run.id] for run in runs]

    def status(self, run_id: str, *, timeout: float = 10.0) -> dict[str, Any] | None:
        """A run as a tree of steps, read from the journal by a worker; None when unknown."""
        found: dict[str, Any] | None = self._control(names.STATUS, id_of(run_id)).get(
            timeout=timeout
        )
        return found

    def results(self, run_id: str, *, timeout: float = 10.0) -> Iterator[tuple[int, Outcome]]:
        """See :meth:`MapRun.results`."""
        after: int | None = -1
        while after is not None:
            asked = self._control(names.RESULTS, id_of(run_id), after)
            page: dict[str, Any] = asked.get(timeout=timeout)
            asked.forget()
            for index, outcome in page["outcomes"]:
                yield index, Outcome.model_validate(outcome)
            after = page["more"]

    def cancel(self, run_id: str) -> None:
        """Ask for a run to be cancelled, with all its steps; holds even before it began."""
        run_id = id_of(run_id)
        self._control(names.CANCEL, run_id)  # recorded: it holds even while no worker is up
        with suppress(OperationalError, OSError):  # at once, where all slots are taken
            self.celery.control.broadcast(names.CANCEL_RUN, arguments={"run_id": run_id})

    def approve(self, run_id: str, choice: JsonValue, *, timeout: float = 10.0) -> None:
        """Answer a run that waits for a person; ``choice`` is an option, or {"option", "reason"}.

        Raises:
            InvalidPayloadError: nothing waits there, or the choice is not one of the options.
        """
        if (wrong := problem(choice)) is not None:
            raise InvalidPayloadError(f"choice: {wrong}.")
        self._control(names.APPROVE, id_of(run_id), choice).get(timeout=timeout)

    def dead_letters(self, limit: int = 100, *, timeout: float = 10.0) -> list[dict[str, Any]]:
        """The newest messages that nobody could run, and steps that were given up."""
        found: list[dict[str, Any]] = self._control(names.DEAD_LETTERS, limit).get(timeout=timeout)
        return found

    def dead_letter(self, letter_id: str, *, timeout: float = 10.0) -> dict[str, Any] | None:
        """A dead letter with its payload, redacted; None when there is none of that id."""
        found: dict[str, Any] | None = self._control(names.DEAD_LETTER, id_of(letter_id)).get(
            timeout=timeout
        )
        return found

    def requeue(self, letter_id: str, *, timeout: float = 10.0) -> None:
        """Let a dead letter run again, with all its attempts.

        Raises:
            InvalidPayloadError: there is none of that id, or it cannot run again.
        """
        self._control(names.REQUEUE, id_of(letter_id)).get(timeout=timeout)

    def drop(self, letter_id: str, *, timeout: float = 10.0) -> bool:
        """Forget a dead letter; False when there was none of that id."""
        return bool(self._control(names.DROP, id_of(letter_id)).get(timeout=timeout))

    def close(self) -> None:
        """Close the connections."""
        self._waiting.close()
        self.celery.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _control(self, task: str, *args: JsonValue) -> Run:
        recorded = task == names.CANCEL  # a question may be lost
        draft = self.draft(task, {}, queue=names.CONTROL_QUEUE, recorded=recorded)
        message = draft.message([*args])
        self.publish([message])
        return Run(self, message.id, message)

    def draft(
        self, task: str, kwargs: dict[str, Any], *, queue: str | None = None, **about: Any
    ) -> Draft:
        """Of messages of one of the agents' tasks; ``about`` as for :class:`Draft`."""
        limit = self.payload_limit_bytes
        return Draft(task, kwargs, queue=queue or self.queue, limit_bytes=limit, **about)

    def publish(self, messages: Iterable[Message | Signature]) -> None:
        """Send messages, and signatures of any task, in few writes.

        Of many, the first ones are worked on while the others are still being made: give a
        generator.

        Raises:
            BrokerUnavailableError: some may have been delivered all the same.
            ConfigurationError: TLS with the broker is not possible, or its certificate is not
                trusted; nothing was sent.
        """
        with self._producer() as producer:
            send(self.celery, producer, messages)

    def refuse_other(self, message: Message) -> None:
        """Look whether the id that somebody chose for a message names another call already.

        Redis knows what has not been acknowledged, and what has ended; of the rest a worker finds
        the row, and the run's ``get`` tells.

        Raises:
            IdInUseError, BrokerUnavailableError
        """
        with self._producer() as producer:
            recorded = getattr(producer.channel, "recorded", lambda _: None)(message.id)
            backend = self.celery.backend
            stored = backend.known(message.id) if isinstance(backend, Backend) else {}
        asked = {found.get(names.PAYLOAD) for found in (recorded or {}, stored)}
        if asked - {None} - (message.known_as or set()):
            raise IdInUseError.of(message.id)

    @contextmanager
    def _producer(self) -> Iterator[Any]:
        try:
            with self.celery.producer_or_acquire() as producer:
                yield producer
        except (BatchPublishError, OperationalError, RedisError, OSError) as error:
            raise self.address.error(
                error,
                did="did not take the message",
                note=" It may have been delivered all the same; sending it again under the same id "
                "is safe.",
            ) from error


class Pattern(Generic[R]):
    """One of the client's verbs: called, it enqueues a run; ``.s`` makes a signature."""

    def __init__(self, client: Client, task: str, request: type[StepOptions], run: type[R]) -> None:
        self._client = client
        self._task = task
        self._request = request
        self._run = run

    def _enqueue(self, value: JsonValue, options: dict[str, Any]) -> R:
        return self._enqueue_many([value], options)[0]

    def _enqueue_many(self, values: Iterable[JsonValue], options: dict[str, Any]) -> list[R]:
        chosen = options.get("id") is not None
        messages = [*self._messages(([value] for value in values), options)]
        if chosen and len(messages) > 1:
            raise InvalidPayloadError("One id cannot be that of many runs.")
        if chosen and messages:
            self._client.refuse_other(messages[0])
        self._client.publish(messages)
        return [self._run(self._client, message.id, message) for message in messages]

    def _messages(
        self, inputs: Iterable[list[JsonValue]], options: dict[str, Any]
    ) -> Iterator[Message]:
        """Validated here, so that a mistake shows at the call and not in a worker."""
        run_id = options.pop("id", None)
        if run_id is not None:
            run_id = id_of(run_id)
        priority = options.pop("priority", None)
        about: dict[str, Any] = {} if priority is None else {"priority": _priority_of(priority)}
        given = {k: v for k, v in options.items() if v is not None}
        draft: Draft | None = None
        for args in inputs:
            if draft is None:  # the options are the same for all
                request = self._request.from_message(args, given)
                draft = self._client.draft(self._task, request.message_options(), **about)
            elif problem(args[0]) is not None:
                self._request.from_message(args, given)
            yield draft.message(args, run_id)

    def _signature(self, args: Sequence[JsonValue], options: dict[str, Any]) -> Signature:
        chosen = options.get("id") is not None
        (message,) = self._messages([[*args]], options)
        signature = message.signature(self._client.celery)
        return signature.set(task_id=message.id) if chosen else signature


def _priority_of(value: object) -> int:
    if type(value) is not int or value not in PRIORITY_STEPS:
        raise InvalidPayloadError("priority: it is a number from 0 (first) to 9 (last).")
    return value


class AskPattern(Pattern[Run]):
    """``agents.ask(agent, input)``: one agent's turn."""

    def __call__(self, agent: str, input: JsonValue, **options: Any) -> Run:  # noqa: A002
        """Ask an agent.

        Args:
            agent: its name in the workers' registry.
            input: any JSON value; for a language model a text.
            options: ``timeout_s`` (one attempt), ``deadline_s`` (all of them), ``retry`` (a
                RetryPolicy), ``instructions``, ``choices``, ``answer_schema``, ``priority``
                (0 first to 9) and ``id``.

        Raises:
            InvalidPayloadError, PayloadTooLargeError, BrokerUnavailableError
        """
        return self._enqueue(input, {**options, "agent": agent})

    def many(self, agent: str, inputs: Iterable[JsonValue], **options: Any) -> list[Run]:
        """Ask an agent about many inputs, in few writes to the broker."""
        return self._enqueue_many(inputs, {**options, "agent": agent})

    def s(self, agent: str, *input: JsonValue, **options: Any) -> Signature:  # noqa: A002
        """A signature; in a chain the previous result is the input."""
        return self._signature(input, {**options, "agent": agent})


class FallbackPattern(Pattern[Run]):
    """``agents.fallback(candidates, input)``: the first candidate that answers."""

    def __call__(self, candidates: Sequence[Any], input: JsonValue, **options: Any) -> Run:  # noqa: A002
        """Ask candidates (names or Candidate) by ``strategy`` until one answers."""
        return self._enqueue(input, {**options, "candidates": candidates})

    def many(
        self, candidates: Sequence[Any], inputs: Iterable[JsonValue], **options: Any
    ) -> list[Run]:
        """One chain over each of many inputs."""
        return self._enqueue_many(inputs, {**options, "candidates": candidates})

    def s(self, candidates: Sequence[Any], *input: JsonValue, **options: Any) -> Signature:  # noqa: A002
        """A signature; in a chain the previous result is the input."""
        return self._signature(input, {**options, "candidates": candidates})


class VotePattern(Pattern[DecisionRun]):
    """``agents.vote(voters, question)``: many agents, one decision."""

    def __call__(self, voters: Sequence[Any], question: JsonValue, **options: Any) -> DecisionRun:
        """Put a question to voters (names or Voter); see VotePolicy for the options."""
        return self._enqueue(question, {**options, "voters": voters})

    def many(
        self, voters: Sequence[Any], questions: Iterable[JsonValue], **options: Any
    ) -> list[DecisionRun]:
        """The same panel on each of many questions."""
        return self._enqueue_many(questions, {**options, "voters": voters})

    def s(self, voters: Sequence[Any], *question: JsonValue, **options: Any) -> Signature:
        """A signature; in a chain the previous result is the question."""
        return self._signature(question, {**options, "voters": voters})


class GatherPattern(Pattern[AggregateRun]):
    """``agents.gather(agents, input)``: many agents' answers made one value."""

    def __call__(self, agents: Sequence[Any], input: JsonValue, **options: Any) -> AggregateRun:  # noqa: A002
        """Ask agents (names or Voter) and aggregate their answers by ``how``; see Gather."""
        return self._enqueue(input, {**options, "agents": agents})

    def s(self, agents: Sequence[Any], *input: JsonValue, **options: Any) -> Signature:  # noqa: A002
        """A signature; in a chain the previous result is the input."""
        return self._signature(input, {**options, "agents": agents})


class MapPattern(Pattern[MapRun]):
    """``agents.map(agent, inputs)``: one agent over many inputs, with a join."""

    def __call__(self, agent: str, inputs: Iterable[JsonValue], **options: Any) -> MapRun:
        """Ask an agent about each input, all in one run; see Map for the options.

        Raises:
            PayloadTooLargeError: the inputs are too big for one message.
        """
        return self._enqueue([*inputs], {**options, "agent": agent})

    def s(self, agent: str, *inputs: Iterable[JsonValue], **options: Any) -> Signature:
        """A signature; in a chain the previous result is the list of inputs."""
        return self._signature([[*given] for given in inputs], {**options, "agent": agent})

    def _messages(
        self, inputs: Iterable[list[JsonValue]], options: dict[str, Any]
    ) -> Iterator[Message]:
        try:
            yield from super()._messages(inputs, options)
        except PayloadTooLargeError as error:
            raise PayloadTooLargeError(
                f"{error} All inputs of a map travel in one message: make several maps of them, "
                "or keep big inputs elsewhere and map over their ids."
            ) from None
