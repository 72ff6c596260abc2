"""The scripts of steps that wait for limits: they stand there, are woken, or do not come."""

from __future__ import annotations

#: Lets a step wait that was refused, and wakes it at once if it has become free since. ARGV: who,
#: its ask (see ``enqueue``), the place of what refused each option, from 1. Returns as ``pump``.
PARK = """
local who, a, woken, waits = ARGV[1], cjson.decode(ARGV[2]), {}, {}
local places, known, queues = cjson.decode(ARGV[3]), redis.call('HGET', L .. 'asks', who), {}
for i, o in ipairs(a.o) do
  queues[i] = queue_of(o.w[places[i]])
  redis.call('ZREM', L .. 'coming:' .. queues[i], who)
end
if known then
  known = cjson.decode(known)
  local same = #known.o == #queues
  for i, o in ipairs(known.o) do same = same and o.q == queues[i] end
  if not same then drop(who, known); known = nil end
end
if not known then
  for i, o in ipairs(a.o) do enqueue(who, a, o, places[i]) end
  note(who, a)
end
for _, q in ipairs(queues) do
  if redis.call('ZSCORE', L .. 'queue:' .. q, who) then pump(q, woken, waits) end
end
write()
return {woken, waits}
"""

#: Pumps queues. ARGV: their names; none: all, and those are woken once more who have not come for
#: what was granted to them. Returns what ``pump`` says.
PUMP = """
local woken, waits, queues = {}, {}, ARGV
if #queues == 0 then
  queues = redis.call('SMEMBERS', L .. 'queues')
  local late = redis.call('ZRANGE', L .. 'granted', '-inf', now, 'BYSCORE', 'LIMIT', 0, MOST)
  for _, who in ipairs(late) do
    if redis.call('EXISTS', L .. 'grant:' .. who) == 1 then
      redis.call('ZADD', L .. 'granted', now + LOST, who)
      woken[#woken + 1] = who
    else
      redis.call('ZREM', L .. 'granted', who)
    end
  end
end
for _, q in ipairs(queues) do pump(q, woken, waits) end
write()
return {woken, waits}
"""

#: Takes back what was granted to steps that will not come. ARGV: their ids. Returns as ``pump``.
REVOKE = """
local woken, waits = {}, {}
for _, who in ipairs(ARGV) do
  local granted = revoke(who)
  if granted then pump_all(granted, woken, waits) end
end
write()
return {woken, waits}
"""

#: Closes keys for so long, or opens them. ARGV: ms or 0, then keys. Returns as ``pump``.
PAUSE = """
local woken, waits = {}, {}
for i = 2, #ARGV do
  pause(ARGV[i], ARGV[1] ~= '0' and now + ARGV[1] or nil)
  if ARGV[1] == '0' then pump('P:' .. ARGV[i], woken, waits) end
end
write()
return {woken, waits}
"""
