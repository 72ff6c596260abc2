"""The scripts of requests under limits: asked before, told of after, held meanwhile."""

from __future__ import annotations

from app.admission.limits.lua.queues import QUEUES
from app.admission.limits.lua.rules import GRANTS

#: May this request be made? ARGV: who, lease in ms, wants, whether it may have a grant. Returns the
#: ms until it is to go out, since those that were woken may come all at once; or the place of what
#: refuses it from 1, the ms until it may not (-1: unknown), and how many stand before it there.
ASK = f"""
local who, lease, wants = ARGV[1], tonumber(ARGV[2]), cjson.decode(ARGV[3])
foresee(wants)
if ARGV[4] == '1' then
{GRANTS}
  local granted = redis.call('GET', L .. 'grant:' .. who)
  if granted then
    local closed = closed_for(wants, who)
    if closed <= HELD then return {{use(cjson.decode(granted).w, who, lease, closed)}} end
    revoke(who)
  end
end
local place, wait, before = blocked(wants, who)
if place then return {{place, wait, before}} end
take(wants, who, lease)
return {{send(wants, 0)}}
"""

#: Tells how a request went. ARGV: who, its wants, by how much each one's cost was wrong, and what
#: the provider said, in this order: {answered, source} and {refused, source} where it tells no
#: limits, {pause, key, ms}, {learned, source, what, number}, and {left, place of a want from 1,
#: remaining, ms since then at the most}. Returns what ``pump`` says.
TELL = (
    """
local who, wants, woken, waits = ARGV[1], cjson.decode(ARGV[2]), {}, {}
local by, said = cjson.decode(ARGV[3]), ARGV[4] == '[]' and {} or cjson.decode(ARGV[4])
for _, s in ipairs(said) do
  if s[1] == 'answered' then
    local told = learned(s[2], 'window', 'refused')
    local n = tonumber(told[1] or UNKNOWN)
    set_window(s[2], math.min(n + (told[2] and 1 / n or 1), UNKNOWN_MOST))
  elseif s[1] == 'refused' then
    if read(L .. 'pause:' .. s[2]) <= now then
      set_window(s[2], math.max(tonumber(learned(s[2], 'window')[1] or UNKNOWN) / 2, 1), true)
    end
  elseif s[1] == 'pause' then
    pause(s[2], math.max(read(L .. 'pause:' .. s[2]), now + s[3]))
  elseif s[1] == 'learned' then
    redis.call('HSET', L .. 'learned:' .. s[2], s[3], s[4])
    redis.call('PEXPIRE', L .. 'learned:' .. s[2], KEPT)
  end
end
for i, w in ipairs(wants) do
  if slots(w) then redis.call('ZREM', L .. w[1] .. ':' .. w[2], who)
  elseif w[1] ~= 'P' then
    correct(w, by[i], 'R:')
    correct(w, by[i], 'X:')
  end
end
for _, s in ipairs(said) do
  local r = s[1] == 'left' and rate(wants[s[2]])
  if r then
    local level = now + r[3] - s[3] * r[4] - s[4]
    if level > math.max(read(L .. 'R:' .. r[2]), now) then set_rate('R:' .. r[2], level) end
  end
end
if redis.call('EXISTS', L .. 'queues') == 1 then
"""
    + QUEUES
    + """
  pump_all(wants, woken, waits)
end
return {woken, waits}
"""
)

#: Holds slots for longer, and anew in a Redis that has lost them. ARGV: lease in ms, then a key and
#: who holds it, again and again.
RENEW = """
local till, lease = now + ARGV[1], tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
  redis.call('ZADD', L .. ARGV[i], till, ARGV[i + 1])
  redis.call('PEXPIRE', L .. ARGV[i], lease + KEPT)
end
return 0
"""
