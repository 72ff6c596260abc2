"""The scripts of requests under limits: asked before, told of after, held meanwhile."""

from __future__ import annotations

from app.admission.limits.lua.queues import QUEUES
from app.admission.limits.lua.rules import GRANTS

#: May these requests be made? All are of one plan. ARGV: lease in ms, wants, then for each
#: request: who, whether it may have a grant, and what it costs otherwise than its plan says, as
#: places of wants from 1 and costs. Returns for each the ms until it is to go out, since those that
#: were woken may come all at once; or the place of what refuses it from 1, the ms until it may not
#: (-1: unknown), and how many stand before it there.
ASK = f"""
local lease, wants, found = tonumber(ARGV[1]), cjson.decode(ARGV[2]), {{}}
foresee(wants)
-- The ms until what was granted to it is to go out, if something was.
local function granted_to(who)
{GRANTS}
  local granted = redis.call('GET', L .. 'grant:' .. who)
  if granted then
    local closed = closed_for(wants, who)
    if closed <= HELD then return use(cjson.decode(granted).w, who, lease, closed) end
    revoke(who)
  end
end
for i = 3, #ARGV, 3 do
  local who, early = ARGV[i], nil
  for place, cost in string.gmatch(ARGV[i + 2], '(%d+) (%d+)') do
    local w = wants[tonumber(place)]
    w[#w] = tonumber(cost)
  end
  if ARGV[i + 1] == '1' then early = granted_to(who) end
  if early then
    found[#found + 1] = {{early}}
  else
    local place, wait, before = blocked(wants, who)
    if not place then take(wants, who, lease) end
    found[#found + 1] = place and {{place, wait, before}} or {{send(wants, 0)}}
  end
end
write()
return found
"""

#: Tells how requests went, all of one plan. ARGV: its wants, then for each request: who, by how
#: much each want's cost was wrong, and what the provider said, in this order: {answered, source}
#: and {refused, source} where it tells no limits, {pause, key, ms}, {learned, source, what,
#: number}, and {left, place of a want from 1, remaining, ms since then at the most}. Returns for
#: each 0, but for the last one what ``pump`` says.
TELL = (
    """
local wants, found, woken, waits, gone = cjson.decode(ARGV[1]), {}, {}, {}, {}
local function told(s)
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
for i = 2, #ARGV, 3 do
  local by = cjson.decode(ARGV[i + 1])
  local said = ARGV[i + 2] == '[]' and {} or cjson.decode(ARGV[i + 2])
  for _, s in ipairs(said) do told(s) end
  gone[#gone + 1], found[#found + 1] = ARGV[i], 0
  for n, w in ipairs(wants) do
    if w[1] ~= 'P' and not slots(w) then
      correct(w, by[n], 'R')
      correct(w, by[n], 'X')
    end
  end
  for _, s in ipairs(said) do
    local r = s[1] == 'left' and rate(wants[s[2]])
    if r then
      local level = now + r[3] - s[3] * r[4] - s[4]
      local key = key_of('R', r[2])
      if level > math.max(read(key), now) then set_rate(key, level) end
    end
  end
end
for _, w in ipairs(wants) do
  if slots(w) then redis.call('ZREM', L .. w[1] .. ':' .. w[2], unpack(gone)) end
end
if redis.call('EXISTS', L .. 'queues') == 1 then
"""
    + QUEUES
    + """
  pump_all(wants, woken, waits)
end
write()
found[#found] = {woken, waits}
return found
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
