"""Names on the wire: tasks, queues, headers and Redis keys."""

from __future__ import annotations

#: The service's command line, in a checkout as with the wheel: what people are told to run.
COMMAND = "celery -A celery_agents.service agents"

ASK = "agents.ask"
FALLBACK = "agents.fallback"
VOTE = "agents.vote"
GATHER = "agents.gather"
MAP = "agents.map"
#: Adds a page of a map's inputs, before it is asked for.
PUT_INPUTS = "agents.put_inputs"
FLOW = "agents.flow"
#: Runs a Celery task of any app.
TASK = "agents.task"
#: One of several strategies; what was learned of them; what an answer of one was worth.
SOLVE = "agents.solve"
LEARNED = "agents.learned"
FEEDBACK = "agents.feedback"
#: Verdicts on decisions, and the records of voters by them.
VERDICT = "agents.verdict"
VOTERS = "agents.voters"
#: A lead who asks others, and a report of who did what.
TEAM = "agents.team"
#: Tells a flow something.
SIGNAL = "agents.signal"
#: Reads what a flow was told and asked for.
HISTORY = "agents.history"
#: Says which flow a run is of, before it is forked.
ORIGIN = "agents.origin"
#: Undoes what a failed run had done; the journal starts it, nobody else.
COMPENSATE = "agents.compensate"
#: Tells somebody by HTTP how a run ended; the journal starts it, nobody else.
WEBHOOK = "agents.webhook"
#: Actors: tells some something, says what one answered; lists them, reads one, and what it refused.
TELL = "agents.tell"
ANSWER = "agents.answer"
ACTORS = "agents.actors"
ACTOR_STATE = "agents.actor_state"
#: Replicated values: reads one, or changes it; lists them.
REPLICATED = "agents.replicated"
REPLICATED_VALUES = "agents.replicated_values"
#: Tells actors what another one has for them; only actors ask for it.
CALL = "agents.call"
CANCEL = "agents.cancel"
APPROVE = "agents.approve"
#: The task name of a row that waits for a person; no worker runs it.
APPROVAL = "agents.approval"
#: The task name of a row that waits for a time; no worker runs it.
WAIT = "agents.wait"
#: Lists what waits for a person.
WAITING = "agents.waiting"
#: Sessions: lists them, reads one, copies one, deletes one.
SESSIONS = "agents.sessions"
SESSION = "agents.session"
FORK = "agents.fork"
FORGET = "agents.forget"
#: Streams: adds to one, reads one, follows several, deletes one, deletes a cursor.
APPEND = "agents.append"
READ = "agents.read"
FOLLOW = "agents.follow"
DELETE_STREAM = "agents.delete_stream"
FORGET_CURSOR = "agents.forget_cursor"
#: Memories: keeps texts, finds what fits a question, reads all, erases; lists those that lack a
#: vector, and takes over vectors that a run has made.
REMEMBER = "agents.remember"
RECALL = "agents.recall"
MEMORIES = "agents.memories"
ERASE = "agents.erase"
UNEMBEDDED = "agents.unembedded"
EMBED = "agents.embed"
EFFECT = "agents.effect"
#: Schedules: lists them, makes or changes one, lets one start nothing or go on, starts a run of one
#: now, deletes one.
SCHEDULES = "agents.schedules"
PUT_SCHEDULE = "agents.put_schedule"
PAUSE_SCHEDULE = "agents.pause_schedule"
RESUME_SCHEDULE = "agents.resume_schedule"
TRIGGER = "agents.trigger"
DELETE_SCHEDULE = "agents.delete_schedule"
#: Subscriptions: makes or changes one, deletes one, lists them, lets one serve nothing or go on,
#: serves a projection anew from the start. Streams: how long they are kept, what becomes of one.
ON = "agents.on"
OFF = "agents.off"
SUBSCRIPTIONS = "agents.subscriptions"
PAUSE_SUBSCRIPTION = "agents.pause_subscription"
RESUME_SUBSCRIPTION = "agents.resume_subscription"
REBUILD = "agents.rebuild"
KEEP = "agents.keep"
KEPT = "agents.kept"
STATE = "agents.state"
TOPICS = "agents.topics"
SWARMS = "agents.swarms"
#: On which who publishes wakes who listens: a hint, the messages stand in the journal.
TOPIC_WAKES = "agents:topic:"
STATUS = "agents.status"
RESULTS = "agents.results"
#: Finding runs: lists them, shows one with all that is told of it, says how far one is.
RUNS = "agents.runs"
SHOW = "agents.show"
PROGRESS = "agents.progress"
#: Statistics: reads them, counts what has ended. The service as a whole.
STATS = "agents.stats"
COUNT = "agents.count"
CLUSTER = "agents.cluster"
CLEAN = "agents.clean"
PROBE = "agents.probe"
#: Estimates a request that is not made.
ESTIMATE = "agents.estimate"
#: Limits: lists them, closes one, opens one.
LIMITS = "agents.limits"
PAUSE = "agents.pause"
RESUME = "agents.resume"
#: Caches: says how they stand, forgets answers.
CACHES = "agents.caches"
UNCACHE = "agents.uncache"
#: Lists tenants: what of theirs is queued and in flight.
TENANTS = "agents.tenants"
#: Budgets: lists them, releases what is in doubt.
BUDGETS = "agents.budgets"
RELEASE = "agents.release"
DEAD_LETTERS = "agents.dead_letters"
DEAD_LETTER = "agents.dead_letter"
REQUEUE = "agents.requeue"
DROP = "agents.drop"

#: Those that are steps.
STEP_TASKS = (
    *(ASK, FALLBACK, VOTE, GATHER, MAP),
    *(FLOW, TASK, SOLVE, TEAM, COMPENSATE, WEBHOOK, CALL),
)
QUEUE = "agents"
#: Short messages that must not wait behind work.
CONTROL_QUEUE = "agents.control"
CONTROL_TASKS = (
    CANCEL,
    APPROVE,
    WAITING,
    SESSIONS,
    SESSION,
    FORK,
    FORGET,
    APPEND,
    PUT_INPUTS,
    READ,
    FOLLOW,
    DELETE_STREAM,
    FORGET_CURSOR,
    REMEMBER,
    RECALL,
    MEMORIES,
    ERASE,
    UNEMBEDDED,
    EMBED,
    EFFECT,
    SCHEDULES,
    PUT_SCHEDULE,
    PAUSE_SCHEDULE,
    RESUME_SCHEDULE,
    TRIGGER,
    DELETE_SCHEDULE,
    ON,
    OFF,
    SUBSCRIPTIONS,
    PAUSE_SUBSCRIPTION,
    RESUME_SUBSCRIPTION,
    REBUILD,
    KEEP,
    KEPT,
    STATE,
    TOPICS,
    SWARMS,
    TELL,
    ANSWER,
    ACTORS,
    ACTOR_STATE,
    REPLICATED,
    REPLICATED_VALUES,
    SIGNAL,
    HISTORY,
    ORIGIN,
    LEARNED,
    FEEDBACK,
    VERDICT,
    VOTERS,
    LIMITS,
    PAUSE,
    RESUME,
    CACHES,
    UNCACHE,
    TENANTS,
    BUDGETS,
    RELEASE,
    STATUS,
    RESULTS,
    RUNS,
    SHOW,
    PROGRESS,
    STATS,
    COUNT,
    CLUSTER,
    CLEAN,
    PROBE,
    ESTIMATE,
    DEAD_LETTERS,
    DEAD_LETTER,
    REQUEUE,
    DROP,
)

#: Header of a message whose row stands in the journal: the row, not the message, says what to do.
JOURNALED = "agents_journaled"
#: Header of one of many messages that the service sends at once: they do not go before others.
BULK = "agents_bulk"
#: Header of a message that its producer recorded in the intake.
INTAKE = "agents_intake"

#: Header of a client's message: the fingerprint of its task and payload (see messages.py). A result
#: has that of its run under the same name.
PAYLOAD = "agents_payload"

#: Header of a message: whose run it is, among those that share the service.
TENANT = "agents_tenant"

#: Header of a message that a task sends whose run has read what others wrote: so has what follows.
UNTRUSTED = "agents_untrusted"
#: Followed by the id of a group: a part of that chord had read what others wrote.
UNTRUSTED_GROUP = "agents:untrusted:"

#: Header of a message: the span of whoever asks, as W3C has it (see traces.py). In the journal the
#: payload of a run has it, before all else.
TRACE = "traceparent"

#: Header of a control message: who sends it, as far as his machine knows. It is told, not proven.
ACTOR = "agents_actor"

#: Header of a control message: the role of who sends it, as the HTTP API knows it by a key.
ROLE = "agents_role"

#: Hash id → envelope, and sorted set id by time of recording; written with the message itself.
INTAKE_RECORDS = "agents:intake"
INTAKE_TIMES = "agents:intake:at"

#: Before the name of a circuit breaker: the string with its record.
BREAKERS = "agents:breaker:"

#: Before the keys of limits: slots, rates, pauses, what providers told, and who waits.
LIMIT_KEYS = "agents:limit:"

#: Before the keys of cached answers, of who asks for one now, and of who waits for that.
CACHE_KEYS = "agents:cache:"
#: Before the keys of budgets: accounts, since when they are kept, and which have reservations.
BUDGET_KEYS = "agents:budget:"

#: Before a run's id: the Redis stream of what its steps tell, and the field of each entry there.
STREAM = "agents:stream:"
STREAM_FIELD = "event"

#: Messages that a worker has taken and not acknowledged: hash tag → list, message, and by time.
UNACKED = "agents:unacked"
UNACKED_TIMES = "agents:unacked:at"
#: Between the name of a list and the tenant whose messages stand in it.
TENANT_LIST = "\x06\x16@"
#: Followed by a queue's name: the sorted set of tenants who have messages there, as
#: ``<priority>:<tenant>``, in the order in which they are taken from (see app/messaging/fairly.py).
RING = "agents:ring:"
#: Hash of what tenants have in flight, and when they were last served; and the consumers that hold
#: messages of theirs, by when they last said so.
HELD = "agents:tenants"
HOLDERS = "agents:tenants:holders"
#: Followed by a queue's name: set with each task that is published there, so that idle workers
#: look. A sorted set of one member, since it cannot grow and workers can block on several.
WAKE = "agents:wake:"
#: Messages that nobody can run, until a worker has them in the journal: hash id → letter, sorted
#: set id by time, and how many old ones were dropped.
DEAD = "agents:dead"
DEAD_TIMES = "agents:dead:at"
DEAD_DROPPED = "agents:dead:dropped"
