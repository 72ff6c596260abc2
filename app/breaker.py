"""Circuit breakers in Redis, shared by all workers: one script asks, one tells, one looks.

Each is one round trip and atomic, on Redis's own clock. The rules are those of
``agents/breaker.py``. While Redis is down every call is let through: a breaker spares calls that
would fail, it must not become what fails.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from app.redis_client import connect_redis
from app.settings import Settings
from celery_agents import names
from celery_agents.errors import redact

log = logging.getLogger(__name__)
T = TypeVar("T")

#: While Redis is down it is said at most so often, and tried again this soon.
SAY_EVERY_S = 60.0
TRY_AGAIN_S = 2.0
#: A breaker is asked before every call, so Redis gets less time here than elsewhere.
TIMEOUT_S = 1.0

CLOCK = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

# KEYS: the breakers. ARGV: the call, the verdict, then eight numbers for each breaker.
# A record is JSON: s(tanding), u(ntil), k (streak), g(ood), w(indow), p(robes).
_COMMON = """
local function policy(i)
  local a = 2 + (i - 1) * 8
  local function n(k) return tonumber(ARGV[a + k]) end
  return {failures = n(1), rate = n(2), min_calls = n(3), window = n(4), open = n(5),
          probes = n(6), successes = n(7), probe = n(8)}
end

local function load(key)
  local text = redis.call('GET', key)
  if not text then return {s = 'closed', u = 0, k = 0, g = 0, w = {}, p = {}} end
  return cjson.decode(text)
end

local function save(key, b, p)
  redis.call('SET', key, cjson.encode(b), 'PX', p.open + p.probe + 10 * p.window + 3600000)
end

local function half_open(b)
  return {s = 'half_open', u = 0, k = 0, g = 0, w = {}, p = {}}
end

local function wait_of(b, p, call)
  if b.s == 'closed' then return -1, b end
  if b.s == 'open' then
    if now < b.u then return b.u - now, b end
    b = half_open(b)
  end
  local out, count = {}, 0
  for c, till in pairs(b.p) do
    if till > now then out[c] = till; count = count + 1 end
  end
  b.p = out
  if not out[call] and count >= p.probes then return 1000, b end
  return -1, b
end
"""

# All breakers or none: a place among the probes of one is not taken when another one refuses.
_ASK = """
local call, records, changes = ARGV[1], {}, {}
for i, key in ipairs(KEYS) do
  local p, was = policy(i), load(key)
  local wait, b = wait_of(was, p, call)
  if wait >= 0 then return {i - 1, wait, {}} end
  records[i] = b
  if b.s ~= was.s then changes[#changes + 1] = {i - 1, was.s, b.s} end
end
for i, key in ipairs(KEYS) do
  local b, p = records[i], policy(i)
  if b.s == 'half_open' then b.p[call] = now + p.probe; save(key, b, p) end
end
return {-1, 0, changes}
"""

_TELL = """
local call, verdicts, changes = ARGV[1], ARGV[2], {}
local function opened(p)
  return {s = 'open', u = now + p.open, k = 0, g = 0, w = {}, p = {}}
end
local function counted(b, p, said)
  local part, w, good, bad = math.floor(now * 10 / p.window), {}, 0, 0
  for k, v in pairs(b.w) do
    if tonumber(k) > part - 10 then w[k] = v end
  end
  local key = string.format('%.0f', part)
  local here = w[key] or {0, 0}
  local at = said == 'g' and 1 or 2
  here[at] = here[at] + 1
  w[key] = here
  for _, v in pairs(w) do good = good + v[1]; bad = bad + v[2] end
  b.k = said == 'g' and 0 or b.k + 1
  b.w = w
  local often = good + bad >= p.min_calls and bad >= p.rate * (good + bad)
  if said == 'b' and (b.k >= p.failures or often) then return opened(p) end
  return b
end
local function probed(b, p, said)
  if said == 'b' then return opened(p) end
  if said == 'g' then b.g = b.g + 1 end
  if b.g >= p.successes then return nil end
  b.p[call] = nil
  return b
end
for i, key in ipairs(KEYS) do
  local said, p, b = string.sub(verdicts, i, i), policy(i), load(key)
  local was, after = b.s, b
  if was == 'closed' and said ~= 'n' then after = counted(b, p, said) end
  if was == 'half_open' and b.p[call] then after = probed(b, p, said) end
  if after == nil then redis.call('DEL', key) else
    if was == 'closed' and said == 'n' then
    elseif was ~= 'open' then save(key, after, p) end
  end
  local is = after and after.s or 'closed'
  if is ~= was then changes[#changes + 1] = {i - 1, was, is} end
end
return changes
"""

_LOOK = """
local waits = {}
for i, key in ipairs(KEYS) do
  waits[i] = wait_of(load(key), policy(i), '')
end
return waits
"""


class Policy(Protocol):
    """The numbers of ``agents.breaker.BreakerPolicy``."""

    @property
    def failures(self) -> int: ...
    @property
    def rate(self) -> float: ...
    @property
    def min_calls(self) -> int: ...
    @property
    def window_s(self) -> float: ...
    @property
    def open_s(self) -> float: ...
    @property
    def probes(self) -> int: ...
    @property
    def successes(self) -> int: ...
    @property
    def probe_timeout_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Switch:
    """One breaker: whose it is (``agent:gpt``, ``provider:openai``), and its policy."""

    name: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class Change:
    """A breaker that went from one standing to another."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a call may be made; ``refused_by`` names the breaker that says no."""

    refused_by: str | None = None
    wait_s: float = 0.0
    changes: tuple[Change, ...] = ()


class Breakers:
    """The breakers of one Redis. Methods block for a round trip; threads may share it."""

    def __init__(self, redis: Redis, *, clock: str = CLOCK) -> None:
        self._redis = redis
        self._ask = redis.register_script(clock + _COMMON + _ASK)
        self._tell = redis.register_script(clock + _COMMON + _TELL)
        self._look = redis.register_script(clock + _COMMON + _LOOK)
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._said_at: float | None = None

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """The breakers of these settings' Redis; nothing is opened before their first use."""
        return cls(connect_redis(settings, min(settings.redis_timeout_s, TIMEOUT_S)))

    def ask(self, switches: Sequence[Switch], call: str) -> Admission:
        """May this call be made? All breakers have to let it through."""

        def run() -> Admission:
            by, wait_ms, changes = self._run(self._ask, switches, call, "")
            if by >= 0:
                return Admission(refused_by=switches[by].name, wait_s=wait_ms / 1000)
            return Admission(changes=_changes(switches, changes))

        return self._or_open(run, Admission())

    def tell(self, switches: Sequence[Switch], call: str, verdicts: Sequence[str]) -> list[Change]:
        """How the call ended, for each breaker: ``good``, ``bad``, or ``none`` of its business."""
        letters = "".join(v[0] for v in verdicts)
        return self._or_open(
            lambda: list(_changes(switches, self._run(self._tell, switches, call, letters))), []
        )

    def refusing(self, switches: Sequence[Switch]) -> set[str]:
        """The names of those that would let no call through now. Nothing changes by looking."""
        if not switches:
            return set()

        def run() -> set[str]:
            waits = self._run(self._look, switches, "", "")
            return {s.name for s, wait in zip(switches, waits, strict=True) if wait >= 0}

        return self._or_open(run, set())

    def _run(self, script: Any, switches: Sequence[Switch], call: str, verdicts: str) -> Any:
        keys = [names.BREAKERS + s.name for s in switches]
        return script(keys, [call, verdicts, *(n for s in switches for n in _numbers(s.policy))])

    def _or_open(self, work: Callable[[], T], otherwise: T) -> T:
        """Without Redis every call passes; it is left alone for a moment, and that is said."""
        if time.monotonic() < self._away_until:
            return otherwise
        try:
            return work()
        except RedisError as error:
            self._away(error)
            return otherwise

    def _away(self, error: RedisError) -> None:
        with self._lock:
            now = time.monotonic()
            self._away_until = now + TRY_AGAIN_S
            if self._said_at is None or now - self._said_at >= SAY_EVERY_S:
                self._said_at = now
                log.warning("Redis is down, so breakers let every call through: %s", redact(error))


def _numbers(policy: Policy) -> tuple[float, ...]:
    return (
        policy.failures,
        policy.rate,
        policy.min_calls,
        round(policy.window_s * 1000),
        round(policy.open_s * 1000),
        policy.probes,
        policy.successes,
        round(policy.probe_timeout_s * 1000),
    )


def _changes(switches: Sequence[Switch], found: Any) -> tuple[Change, ...]:
    return tuple(
        Change(switches[i].name, before.decode(), after.decode()) for i, before, after in found
    )
