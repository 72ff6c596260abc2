"""Circuit breakers in Redis, shared by all workers: one script asks, one tells, one looks.

Each is atomic, on Redis's own clock. What many calls ask of the same breakers at the same moment is
one command. The rules are those of ``agents/policies/breaker.py``. While Redis is down every call
is let through: a breaker spares calls that would fail, it must not become what fails.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Self

from redis import Redis

from agents.policies.breaker import BreakerPolicy
from app.admission.scripts import CLOCK, TIMEOUT_S, OwnWords, Query, Scripts
from app.concurrency.future import Future
from app.messaging.redis import connect_redis
from app.settings import Settings
from celery_agents import names

log = logging.getLogger(__name__)

#: Where it is noted that Redis is away, and what then holds.
_LET_THROUGH = ("breakers", "Breakers let calls through without Redis")


# KEYS: the breakers. ARGV: the policy of each in JSON, then what is asked or told of calls.
# A record is JSON: s(tanding), u(ntil), k (streak), g(ood), w(indow), p(robes). Each is read once.
COMMON = """
local known = {}
local function policies_of(keys)
  local found = {}
  for i in ipairs(keys) do found[i] = cjson.decode(ARGV[i]) end
  return found
end

local function load(key)
  if not known[key] then
    local text = redis.call('GET', key)
    known[key] = text and cjson.decode(text) or {s = 'closed', u = 0, k = 0, g = 0, w = {}, p = {}}
  end
  return known[key]
end

local function save(key, b, p)
  known[key] = b
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
ASKING = """
local function breakers_of(keys, policies, call)
  local records, changes = {}, {}
  for i, key in ipairs(keys) do
    local was = load(key)
    local wait, b = wait_of(was, policies[i], call)
    if wait >= 0 then return i, wait end
    records[i] = b
    if b.s ~= was.s then changes[#changes + 1] = {i - 1, was.s, b.s} end
  end
  return nil, 0, records, changes
end

local function probing(keys, policies, records, call)
  local probe = 0
  for i, key in ipairs(keys) do
    local b, p = records[i], policies[i]
    if b.s == 'half_open' then b.p[call] = now + p.probe; save(key, b, p); probe = 1 end
  end
  return probe
end
"""

# Behind the policies: calls. Returns for each: what refuses it or -1, ms, changes, 1 for a probe.
_ASK = """
local policies, found = policies_of(KEYS), {}
for n = #KEYS + 1, #ARGV do
  local by, wait, records, changes = breakers_of(KEYS, policies, ARGV[n])
  found[#found + 1] = by and {by - 1, wait, {}, 0}
    or {-1, 0, changes, probing(KEYS, policies, records, ARGV[n])}
end
return found
"""

# Behind the policies: calls, each with its verdicts. Returns the changes by each.
_TELL = """
local policies, found, after = policies_of(KEYS), {}, {}
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
local function probed(b, p, said, call)
  if said == 'b' then return opened(p) end
  if said == 'g' then b.g = b.g + 1 end
  if b.g >= p.successes then return {s = 'closed', u = 0, k = 0, g = 0, w = {}, p = {}} end
  b.p[call] = nil
  return b
end
for n = #KEYS + 1, #ARGV, 2 do
  local call, changes = ARGV[n], {}
  for i, key in ipairs(KEYS) do
    local said, p, b = string.sub(ARGV[n + 1], i, i), policies[i], load(key)
    local was = b.s
    if was == 'half_open' then
      if b.p[call] then b = probed(b, p, said, call) end
      after[i] = b
    elseif was == 'closed' and said ~= 'n' then
      b = counted(b, p, said)
      after[i] = b
    end
    known[key] = b
    if b.s ~= was then changes[#changes + 1] = {i - 1, was, b.s} end
  end
  found[#found + 1] = changes
end
for i, b in pairs(after) do
  if b.s == 'closed' and next(b.w) == nil then
    redis.call('DEL', KEYS[i])
  else
    save(KEYS[i], b, policies[i])
  end
end
return found
"""

_LOOK = """
local waits, policies = {}, policies_of(KEYS)
for i, key in ipairs(KEYS) do
  waits[i] = wait_of(load(key), policies[i], '')
end
return waits
"""


@dataclass(frozen=True, slots=True)
class Switch:
    """One breaker: whose it is (``agent:gpt``, ``provider:openai``), and its policy."""

    name: str
    policy: BreakerPolicy


@dataclass(frozen=True, slots=True)
class Change:
    """A breaker that went from one standing to another."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Admission:
    """Permission for a call, or its refusal by the breaker that ``refused_by`` names."""

    refused_by: str | None = None
    wait_s: float = 0.0
    #: Whether it is let through on trial, by a breaker that is half open.
    probe: bool = False
    changes: tuple[Change, ...] = ()


class Breakers:
    """The breakers of one Redis, for one process.

    A call that begins after another one's end was told, in this process, meets a breaker that knows
    of it.
    """

    def __init__(self, redis: Redis, *, clock: str = CLOCK) -> None:
        self.scripts = Scripts(redis)
        self._ask = self.scripts.register(clock + COMMON + ASKING + _ASK)
        self._tell = self.scripts.register(clock + COMMON + _TELL)
        self._look = self.scripts.register(clock + COMMON + _LOOK)

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Make the breakers of these settings' Redis; nothing is opened before their first use."""
        return cls(connect_redis(settings, min(settings.redis_timeout_s, TIMEOUT_S)))

    def ask(self, switches: Sequence[Switch], call: str) -> Future[Admission]:
        """Ask whether this call may be made. All breakers have to let it through."""
        return self.scripts.run(self.asking(switches, call))

    def asking(self, switches: Sequence[Switch], call: str) -> Query:
        """The question of ``ask``, to be asked together with others."""

        def read(found: Any) -> Admission:
            by, wait_ms, changes, probe = found
            if by >= 0:
                return Admission(refused_by=switches[by].name, wait_s=wait_ms / 1000)
            return Admission(probe=bool(probe), changes=changes_of(switches, changes))

        return self._question(self._ask, switches, read, Admission, OwnWords(call, (call,)))

    def tell(
        self, switches: Sequence[Switch], call: str, verdicts: Sequence[str]
    ) -> Future[Sequence[Change]]:
        """Report a call's end, for each breaker: ``good``, ``bad``, or ``none`` of its business.

        Only a bad end, or the end of a probe, changes a breaker's standing.
        """
        return self.scripts.run(self.telling(switches, call, verdicts))

    def telling(self, switches: Sequence[Switch], call: str, verdicts: Sequence[str]) -> Query:
        """The report of ``tell``, to be made together with others."""
        own = OwnWords(call, (call, "".join(v[0] for v in verdicts)), first=True)
        read = partial(changes_of, switches)
        return self._question(self._tell, switches, read, tuple, own)

    def refusing(self, switches: Sequence[Switch]) -> set[str]:
        """Return the names of those that would let no call through now, and change nothing.

        Blocks for a round trip.
        """
        if not switches:
            return set()

        def read(waits: Any) -> set[str]:
            return {s.name for s, wait in zip(switches, waits, strict=True) if wait >= 0}

        found: set[str] = self.scripts.run(self._question(self._look, switches, read, set)).result()
        return found

    @staticmethod
    def _question(
        script: str,
        switches: Sequence[Switch],
        read: Callable[[Any], Any],
        otherwise: Callable[[], Any],
        own: OwnWords | None = None,
    ) -> Query:
        keys = [key_of(s) for s in switches]
        command = (script, len(keys), *keys, *(encoded(s.policy) for s in switches))
        return Query(command, read, otherwise, _LET_THROUGH, own)


def key_of(switch: Switch) -> str:
    """The key of a breaker's record."""
    return names.BREAKERS + switch.name


@lru_cache
def encoded(policy: BreakerPolicy) -> str:
    """A policy as the scripts read it; times are milliseconds."""
    return json.dumps(
        {
            "failures": policy.failures,
            "rate": policy.rate,
            "min_calls": policy.min_calls,
            "window": round(policy.window_s * 1000),
            "open": round(policy.open_s * 1000),
            "probes": policy.probes,
            "successes": policy.successes,
            "probe": round(policy.probe_timeout_s * 1000),
        }
    )


def changes_of(switches: Sequence[Switch], found: Any) -> tuple[Change, ...]:
    """Read changes of state and log them: here, since not every caller waits for the answer."""
    changes = tuple(
        Change(switches[i].name, before.decode(), after.decode()) for i, before, after in found
    )
    for change in changes:
        log.warning("The breaker of %s is %s, was %s", change.name, change.after, change.before)
    return changes
