"""The Lua scripts of the transport: each is one step of Redis, so none can be half done.

They use several keys, so they do not run on Redis Cluster (nor do kombu's own pops).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from app.messaging.fairly import ACKNOWLEDGE, FAIR, TEND, shares

#: Lands a dead letter and keeps the newest ``most``. KEYS 3 to 5: letters, their times, how many
#: were dropped. A letter is four parts, a line each but the last: the list that it came from, its
#: size in bytes, JSON about it, the message or its beginning.
_LAND = """
local clock = redis.call('TIME')
local now = string.format('%d.%06d', clock[1], clock[2])
local function land(id, list, size, about, message, most)
  redis.call('HSET', KEYS[3], id, table.concat({list, size, about, message}, '\\n'))
  redis.call('ZADD', KEYS[4], now, id)
  for _ = 1, redis.call('ZCARD', KEYS[4]) - most do
    redis.call('HDEL', KEYS[3], redis.call('ZPOPMIN', KEYS[4])[1])
    redis.call('INCR', KEYS[5])
  end
end
"""

#: Moves up to ARGV[1] messages from the queues into *unacked*, and returns them as a flat list of
#: delivery tag, number of the queue from 0, message. The lists come priority by priority; within
#: one, they take turns. Where tenants have messages, theirs are taken in fair order (fairly.py).
#: When the room is used up and messages are left, another idle worker is woken. One above the limit
#: lands as a dead letter with its first bytes.
#:
#: KEYS: unacked, its index by time, the three of ``land``, a wake for each queue, then the lists:
#: of each priority one for each queue, then one for many messages for each queue.
#: ARGV: room, prefix of the tags, number of queues, limit in bytes, bytes kept, most dead letters,
#: whose turn it is among the lists of a priority, from 0; whether plain producers' messages are
#: looked through for tenants.
_TAKE = """
local room, queues, limit = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lists, taken, entries, times, popped = 5 + queues, {}, {}, {}, 0
local lanes, turn = 2 * queues, tonumber(ARGV[7])
local seen, most_seen = 0, room + 100  -- dead letters take no room, but one step has its bounds

local function each_list(q, call)
  for priority = 0, 9 do
    local first = lists + priority * lanes + q
    call(priority, KEYS[first], KEYS[first + queues])
  end
end

local rings, fair = {}, false
for q = 1, queues do
  rings[q] = RING .. queue_named(q)
  if ARGV[8] == '1' then
    each_list(q, function(priority, list) sort(queue_named(q), list, priority) end)
  end
end
local open = redis.call('EXISTS', unpack(KEYS, lists + 1))  -- lists in which something stands
if redis.call('EXISTS', unpack(rings)) > 0 then
  for q = 1, queues do
    if redis.call('EXISTS', rings[q]) == 1 then
      fair = fair or {}
      fair[q] = queue_named(q)
      if open > 0 then
        local plain = {}
        each_list(q, function(priority, list, bulk) plain[priority] = {list, bulk} end)
        begin_fair(fair[q], plain)
      end
    end
  end
end

for first = lists + 1, #KEYS, lanes do
  local misses, empty, found = 0, {}, 0
  if open > 0 then
    found = redis.call('EXISTS', unpack(KEYS, first, first + lanes - 1))
    open = open - found
  elseif not fair then
    break
  end
  for _, queue in pairs(fair or {}) do
    if waits_at(queue, (first - lists - 1) / lanes) then found = found + 1 end
  end
  if found == 0 then misses = lanes end
  while misses < lanes and popped < room and seen < most_seen do
    local q, list, message, tenant = turn % queues, KEYS[first + turn], nil, nil
    local queue = fair and fair[q + 1]
    if queue and turn < queues then
      local priority = (first - lists - 1) / lanes
      local ordinary, bulk = KEYS[first + q], KEYS[first + q + queues]
      list, message, tenant = fair_pop(queue, priority, ordinary, bulk)
    elseif not queue and not empty[turn] then
      message = redis.call('RPOP', list)
      empty[turn] = not message
    end
    if message then
      misses, seen = 0, seen + 1
      local tag = ARGV[2] .. seen
      if #message > limit then
        local about = '{"cause": "oversized", "at": ' .. now .. '}'
        local start = string.sub(message, 1, tonumber(ARGV[5]))
        land(tag, list, #message, about, start, tonumber(ARGV[6]))
        if queue then share(queue, tenant).held = share(queue, tenant).held - 1 end
      else
        popped = popped + 1
        if queue then tag = tag .. '\\n' .. queue .. '\\n' .. tenant end
        local n = #entries
        entries[n + 1], entries[n + 2] = tag, list .. '\\n' .. message
        times[n + 1], times[n + 2] = now, tag
        local t = #taken
        taken[t + 1], taken[t + 2], taken[t + 3] = tag, q, message
      end
    else
      misses = misses + 1
    end
    turn = (turn + 1) % lanes
  end
end
for _, queue in pairs(fair or {}) do end_fair(queue, string.match(ARGV[2], '^[^.]*'), now) end
if #entries > 0 then
  redis.call('HSET', KEYS[1], unpack(entries))
  redis.call('ZADD', KEYS[2], unpack(times))
end
if popped == room then
  for q = 1, queues do
    local left = {rings[q]}
    each_list(q, function(_, list, bulk) left[#left + 1] = list; left[#left + 1] = bulk end)
    if redis.call('EXISTS', unpack(left)) > 0 then redis.call('ZADD', KEYS[5 + q], 0, '1') end
  end
end
return taken
"""

#: Moves a taken message to the dead letters, unless it was acknowledged meanwhile.
#: KEYS: as the first five of TAKE. ARGV: delivery tag, JSON about it, most dead letters.
_BURY = """
local entry = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if entry then
  redis.call('HDEL', KEYS[1], ARGV[1])
  lower_all({ARGV[1]})
  local line = string.find(entry, '\\n', 1, true)
  local message = string.sub(entry, line + 1)
  local id = string.match(ARGV[1], '^[^\\n]*')
  land(id, string.sub(entry, 1, line - 1), #message, ARGV[2], message, tonumber(ARGV[3]))
end
"""

#: Gives a taken message back to its list, unless it was acknowledged meanwhile.
#: KEYS: unacked, index, list, wake. ARGV: delivery tag, message, LPUSH (last) or RPUSH (next).
_GIVE_BACK = """
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
  lower_all({ARGV[1]})
  redis.call(ARGV[3], KEYS[3], ARGV[2])
  local _, queue, tenant = owner(ARGV[1])
  if queue and tenant ~= '' then
    local list = string.sub(KEYS[3], 1, -#MARK - #tenant - 1)
    local step = list == queue and 0 or tonumber(string.sub(list, #queue + #SEPARATOR + 1))
    local priority = step % 10
    redis.call('LPUSH', queue .. COUNTED, 1)
    redis.call('ZADD', RING .. queue, 'NX', whole(priority * PRIORITY), priority .. ':' .. tenant)
  end
  redis.call('ZADD', KEYS[4], 0, '1')
end
"""

#: Tags that were taken at least ARGV[1] seconds ago, at most ARGV[2], by the server's clock: that
#: of one worker may be wrong. KEYS: index.
OVERDUE = """
local clock = redis.call('TIME')
local until_ = clock[1] + clock[2] / 1000000 - ARGV[1]
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', until_, 'LIMIT', 0, ARGV[2])
"""


@dataclass(frozen=True)
class TransportScripts:
    """The scripts of a transport whose tenants have these weights."""

    weights: Mapping[str, float]

    @cached_property
    def take(self) -> str:
        """Takes messages."""
        return _LAND + shares(self.weights) + FAIR + _TAKE

    @cached_property
    def take_sha(self) -> str:
        """Its name in Redis."""
        return _sha(self.take)

    @cached_property
    def bury(self) -> str:
        """Makes a message a dead letter."""
        return _LAND + shares(self.weights) + _BURY

    @cached_property
    def give_back(self) -> str:
        """Gives a message back."""
        return shares(self.weights) + _GIVE_BACK

    @cached_property
    def acknowledge(self) -> str:
        """Acknowledges messages that count for tenants."""
        return shares(self.weights) + ACKNOWLEDGE

    @cached_property
    def acknowledge_sha(self) -> str:
        """Its name in Redis."""
        return _sha(self.acknowledge)

    @cached_property
    def tend(self) -> str:
        """Counts anew what tenants have in flight."""
        return shares(self.weights) + TEND


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
