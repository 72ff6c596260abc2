"""The Lua scripts of the transport: each is one step of Redis, so none can be half done.

They use several keys, so they do not run on Redis Cluster (nor do kombu's own pops).
"""

from __future__ import annotations

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
#: one, they take turns. When the room is used up and messages are left, another idle worker is
#: woken. One above the limit lands as a dead letter with its first bytes.
#:
#: KEYS: unacked, its index by time, the three of ``land``, a wake for each queue, then the lists:
#: of each priority one for each queue, then one for many messages for each queue.
#: ARGV: room, prefix of the tags, number of queues, limit in bytes, bytes kept, most dead letters,
#: whose turn it is among the lists of a priority, from 0.
TAKE = (
    _LAND
    + """
local room, queues, limit = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lists, taken, entries, times, popped = 5 + queues, {}, {}, {}, 0
local lanes, turn = 2 * queues, tonumber(ARGV[7])
local seen, most_seen = 0, room + 100  -- dead letters take no room, but one step has its bounds
for first = lists + 1, #KEYS, lanes do
  local misses = 0
  if redis.call('EXISTS', unpack(KEYS, first, first + lanes - 1)) == 0 then misses = lanes end
  while misses < lanes and popped < room and seen < most_seen do
    local list = KEYS[first + turn]
    local message = redis.call('RPOP', list)
    if message then
      misses, seen = 0, seen + 1
      local tag = ARGV[2] .. seen
      if #message > limit then
        local about = '{"cause": "oversized", "at": ' .. now .. '}'
        local start = string.sub(message, 1, tonumber(ARGV[5]))
        land(tag, list, #message, about, start, tonumber(ARGV[6]))
      else
        popped = popped + 1
        local n = #entries
        entries[n + 1], entries[n + 2] = tag, list .. '\\n' .. message
        times[n + 1], times[n + 2] = now, tag
        local t = #taken
        taken[t + 1], taken[t + 2], taken[t + 3] = tag, turn % queues, message
      end
    else
      misses = misses + 1
    end
    turn = (turn + 1) % lanes
  end
end
if #entries > 0 then
  redis.call('HSET', KEYS[1], unpack(entries))
  redis.call('ZADD', KEYS[2], unpack(times))
end
if popped == room then
  for queue = 1, queues do
    for list = lists + queue, #KEYS, queues do
      if redis.call('EXISTS', KEYS[list]) == 1 then
        redis.call('ZADD', KEYS[5 + queue], 0, '1')
        break
      end
    end
  end
end
return taken
"""
)

#: Moves a taken message to the dead letters, unless it was acknowledged meanwhile.
#: KEYS: as the first five of TAKE. ARGV: delivery tag, JSON about it, most dead letters.
BURY = (
    _LAND
    + """
local entry = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if entry then
  redis.call('HDEL', KEYS[1], ARGV[1])
  local line = string.find(entry, '\\n', 1, true)
  local message = string.sub(entry, line + 1)
  land(ARGV[1], string.sub(entry, 1, line - 1), #message, ARGV[2], message, tonumber(ARGV[3]))
end
"""
)

#: Gives a taken message back to its list, unless it was acknowledged meanwhile.
#: KEYS: unacked, index, list, wake. ARGV: delivery tag, message, LPUSH (last) or RPUSH (next).
GIVE_BACK = """
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
  redis.call(ARGV[3], KEYS[3], ARGV[2])
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
