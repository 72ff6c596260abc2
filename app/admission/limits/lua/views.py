"""The scripts by which people see limits; they change nothing."""

from __future__ import annotations

#: The queues in which somebody waits.
NAMES = "return redis.call('SMEMBERS', L .. 'queues')"

#: Looks at how steps wait. ARGV: their ids. Returns for each: the queue ('' if it does not wait),
#: its place from 0, and the ms until its turn, -1: unknown.
PLACES = """
local function place_of(who, o)
  local rank, wait = redis.call('ZRANK', L .. 'queue:' .. o.q, who), -1
  if not rank then return nil end
  for _, w in ipairs(o.w) do
    if queue_of(w) == o.q then
      wait = refused(w, who) or 0
      local r = (w[1] == 'R' or w[1] == 'L') and rate(w)
      if r then wait = math.ceil(wait + rank * r[5] * r[4]) end
    end
  end
  return {o.q, rank, wait}
end
local function sooner(one, other)
  if one[3] < 0 or other[3] < 0 then return one[3] >= 0 end
  return one[3] < other[3]
end
local found = {}
for i, who in ipairs(ARGV) do
  local text = redis.call('HGET', L .. 'asks', who)
  found[i] = {'', 0, -1}
  for _, o in ipairs(text and cjson.decode(text).o or {}) do
    local place = place_of(who, o)
    if place and (found[i][1] == '' or sooner(place, found[i])) then found[i] = place end
  end
end
return found
"""

#: Looks at limits. ARGV: for each a list of the keys of its slots, of queues, of pauses, of what is
#: learned. Returns for each: held, waiting, ms of its pause, what is learned as a flat list.
LOOK = """
local found = {}
for i, text in ipairs(ARGV) do
  local keys, held, waiting, paused, learned = cjson.decode(text), 0, 0, 0, {}
  for _, key in ipairs(keys[1]) do held = held + redis.call('ZCOUNT', L .. key, now, '+inf') end
  for _, q in ipairs(keys[2]) do waiting = waiting + redis.call('ZCARD', L .. 'queue:' .. q) end
  for _, key in ipairs(keys[3]) do paused = math.max(paused, read(L .. 'pause:' .. key) - now) end
  for _, key in ipairs(keys[4]) do learned = redis.call('HGETALL', L .. 'learned:' .. key) end
  found[i] = {held, waiting, math.ceil(paused), learned}
end
return found
"""
