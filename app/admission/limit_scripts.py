"""The Lua scripts of limits: each is one step of Redis, so all is checked before any is written.

The rules are those of ``agents/governance/limits.py``. A want is a JSON list: its kind (its first
letter there) and its fields. Who asks is a step's id. What it has to wait for has a queue, in which
it stands in a fair order: by priority, then by tenants in turn ("start-time fair queuing", P. Goyal
et al., 1996), a step counting as much as it takes of that limit, by its tenant's weight. Whoever
frees something pumps: who stands first is granted all that it wants, in the same step, and named,
to be woken.

Keys are made of names of limits here, so these do not run on Redis Cluster.
"""

from __future__ import annotations

from agents.governance.limits import UNKNOWN_AT_ONCE, UNKNOWN_MOST
from celery_agents import names

CLOCK = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""
#: So long is a grant kept for a step that was woken; and a record that nobody uses.
GRANT_MS, KEPT_MS = 30_000, 3_600_000
#: So many steps are woken or moved by one pump: Redis serves nobody else meanwhile.
WOKEN_MAX = 200
#: Who stands first stays there in a pause that is no longer; in a longer one it waits elsewhere.
SHORT_MS = 5_000
#: Who was woken before a pause began waits for its end in its slot, if that is no longer.
HELD_MS = 2_000

COMMON = (
    f"""
local L, UNKNOWN, UNKNOWN_MOST = '{names.LIMIT_KEYS}', {UNKNOWN_AT_ONCE}, {UNKNOWN_MOST}
local GRANT, KEPT, MOST, SHORT, HELD = {GRANT_MS}, {KEPT_MS}, {WOKEN_MAX}, {SHORT_MS}, {HELD_MS}
"""
    """
local function number(x) return string.format('%.17g', x) end
local function read(key) return tonumber(redis.call('GET', key) or 0) end

local function rate(w)
  if w[1] == 'R' then return w end
  local told = tonumber(redis.call('HGET', L .. 'learned:' .. w[3], w[4]) or 0)
  if told == 0 then return nil end
  local unit = 60000 / told
  return {'R', w[2], math.max(unit, w[5] * 1000), unit, w[6]}
end

local function learned(source, ...) return redis.call('HMGET', L .. 'learned:' .. source, ...) end
local function set_window(source, n, refused)
  redis.call('HSET', L .. 'learned:' .. source, 'window', number(n))
  if refused then redis.call('HSET', L .. 'learned:' .. source, 'refused', 1) end
  redis.call('PEXPIRE', L .. 'learned:' .. source, KEPT)
end

local function most(w)
  if w[1] == 'S' then return w[3] end
  local told = learned(w[3], 'window', 'requests', 'tokens', 'input', 'output')
  if told[2] or told[3] or told[4] or told[5] then return nil end
  return math.floor(tonumber(told[1] or UNKNOWN))
end

local function slots(w) return w[1] == 'S' or w[1] == 'U' end

local function refused(w, who)
  local key = L .. w[1] .. ':' .. w[2]
  if w[1] == 'P' then
    local left = read(L .. 'pause:' .. w[2]) - now
    if left > 0 then return math.ceil(left) end
  elseif slots(w) then
    local n = most(w)
    if n and redis.call('ZCARD', key) >= n then
      redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
      if redis.call('ZCARD', key) >= n and not redis.call('ZSCORE', key, who) then return -1 end
    end
  else
    local r = rate(w)
    if r then
      local wait = math.max(read(L .. 'R:' .. r[2]), now) + math.min(r[5] * r[4], r[3]) - now - r[3]
      if wait > 0 then return math.ceil(wait) end
    end
  end
end

local function check(wants, who)
  for i, w in ipairs(wants) do
    local wait = refused(w, who)
    if wait then return i, wait end
  end
end

local function hold(w, who, lease)
  local key = L .. w[1] .. ':' .. w[2]
  redis.call('ZADD', key, now + lease, who)
  redis.call('PEXPIRE', key, lease + KEPT)
end

local function set_rate(key, paid_off)
  local kept = math.ceil(math.max(paid_off - now, 0)) + KEPT
  redis.call('SET', L .. key, number(paid_off), 'PX', kept)
end

local function take(wants, who, lease)
  for _, w in ipairs(wants) do
    if slots(w) then
      if most(w) then hold(w, who, lease) end
    elseif w[1] ~= 'P' then
      local r = rate(w)
      if r then set_rate('R:' .. r[2], math.max(read(L .. 'R:' .. r[2]), now) + r[5] * r[4]) end
    end
  end
end

-- Counts what goes out in so many milliseconds; returns those until it is not too early.
local function send(wants, later)
  local early = later
  for _, w in ipairs(wants) do
    local r = (w[1] == 'R' or w[1] == 'L') and rate(w)
    if r then
      local takes = r[5] * r[4]
      local paid_off = math.max(read(L .. 'X:' .. r[2]), now + later) + takes
      set_rate('X:' .. r[2], paid_off)
      early = math.max(early, paid_off - now - math.max(r[3], takes))
    end
  end
  return math.ceil(early)
end

local function correct(w, by, key)
  local r = rate(w)
  if not r or by == 0 then return end
  local paid_off = read(L .. key .. r[2])
  if by > 0 then paid_off = math.max(paid_off, now) elseif paid_off <= now then return end
  set_rate(key .. r[2], paid_off + by * r[4])
end

local function queue_of(w)
  if w[1] == 'L' then return 'R:' .. w[2] end
  return w[1] .. ':' .. w[2]
end

local function cost_of(w)
  if w[1] == 'R' then return w[5] end
  if w[1] == 'L' then return w[6] end
  return 1
end

-- A: w(ants), p(riority), t(enant), what that weighs (k), and q(ueue) in which it stands.
local function enqueue(who, a, place)
  local q = queue_of(a.w[place])
  local fair = L .. 'fair:' .. q
  local of_all, own = 'v:' .. a.p, 'f:' .. a.p .. ':' .. a.t
  local tags = redis.call('HMGET', fair, of_all, own)
  local begin = math.max(tonumber(tags[1] or 0), tonumber(tags[2] or 0))
  redis.call('HSET', fair, own, number(begin + math.max(cost_of(a.w[place]), 1) / (a.k or 1)))
  redis.call('ZADD', L .. 'queue:' .. q, number(a.p * 1e12 + begin), who)
  redis.call('SADD', L .. 'queues', q)
  a.q = q
  redis.call('HSET', L .. 'asks', who, cjson.encode(a))
  return q
end

local function drop(q, who)
  redis.call('ZREM', L .. 'queue:' .. q, who)
  redis.call('HDEL', L .. 'asks', who)
end

-- Milliseconds until the first slot may be free though nobody tells: its holder is dead by then.
local function lapse(w)
  local first = redis.call('ZRANGE', L .. w[1] .. ':' .. w[2], 0, 0, 'WITHSCORES')
  return first[2] and math.max(math.ceil(first[2] - now), 1) or 1
end

-- Grants those that stand first in a queue what they want. Names them in ``woken``; ``waits`` gets
-- queues to be pumped again, with the milliseconds until then.
local function pump(q, woken, waits)
  for n = 1, math.huge do
    local head = redis.call('ZRANGE', L .. 'queue:' .. q, 0, 0, 'WITHSCORES')
    local who = head[1]
    if not who then
      redis.call('SREM', L .. 'queues', q)
      redis.call('DEL', L .. 'fair:' .. q)
      return
    end
    local text = redis.call('HGET', L .. 'asks', who)
    if not text then
      redis.call('ZREM', L .. 'queue:' .. q, who)
    else
      if n > MOST then waits[#waits + 1] = q; waits[#waits + 1] = 0; return end
      local a = cjson.decode(text)
      local place, wait = check(a.w, who)
      if place and wait < 0 then wait = lapse(a.w[place]) end
      local short = place and a.w[place][1] == 'P' and wait <= SHORT
      if place and (short or queue_of(a.w[place]) == q) then
        waits[#waits + 1] = q
        waits[#waits + 1] = wait
        return
      end
      redis.call('HSET', L .. 'fair:' .. q, 'v:' .. a.p, number(head[2] - a.p * 1e12))
      drop(q, who)
      if place then
        waits[#waits + 1] = enqueue(who, a, place)
        waits[#waits + 1] = wait
      else
        take(a.w, who, GRANT)
        redis.call('SET', L .. 'grant:' .. who, cjson.encode(a.w), 'PX', GRANT)
        woken[#woken + 1] = who
      end
    end
  end
end

local function release(wants, who)
  for _, w in ipairs(wants) do
    if slots(w) then redis.call('ZREM', L .. w[1] .. ':' .. w[2], who)
    elseif w[1] ~= 'P' then correct(w, -cost_of(w), 'R:') end
  end
end

local function pump_all(wants, woken, waits)
  if redis.call('EXISTS', L .. 'queues') == 1 then
    for _, w in ipairs(wants) do
      local q = queue_of(w)
      if redis.call('EXISTS', L .. 'queue:' .. q) == 1 then pump(q, woken, waits) end
    end
  end
end

-- Takes back a grant that nobody has used; returns what it was for.
local function revoke(who)
  local granted = redis.call('GET', L .. 'grant:' .. who)
  if not granted then return nil end
  redis.call('DEL', L .. 'grant:' .. who)
  granted = cjson.decode(granted)
  release(granted, who)
  return granted
end
"""
)

#: May this request be made? ARGV: who, lease in ms, wants, whether it may have a grant. Returns the
#: ms until it is to go out, since those that were woken may come all at once; or the place of what
#: refuses it from 1, the ms until it may not (-1: unknown), and how many stand before it there.
ASK = """
local who, lease, wants = ARGV[1], tonumber(ARGV[2]), cjson.decode(ARGV[3])
if ARGV[4] == '1' then
  local granted = redis.call('GET', L .. 'grant:' .. who)
  if granted then
    local closed = 0
    for _, w in ipairs(wants) do
      if w[1] == 'P' then closed = math.max(closed, refused(w, who) or 0) end
    end
    if closed <= HELD then
      redis.call('DEL', L .. 'grant:' .. who)
      for _, w in ipairs(cjson.decode(granted)) do
        local held = slots(w) and redis.call('ZSCORE', L .. w[1] .. ':' .. w[2], who)
        if held then hold(w, who, lease) end
      end
      return {send(cjson.decode(granted), closed)}
    end
    revoke(who)
  end
end
local place, wait = check(wants, who)
if not place and redis.call('EXISTS', L .. 'queues') == 1 then
  for i, w in ipairs(wants) do
    local q = L .. 'queue:' .. queue_of(w)
    if redis.call('EXISTS', q) == 1 then place, wait = i, 0; break end
  end
end
if place then
  local queue = L .. 'queue:' .. queue_of(wants[place])
  return {place, wait, redis.call('ZRANK', queue, who) or redis.call('ZCARD', queue)}
end
take(wants, who, lease)
return {send(wants, 0)}
"""

#: Lets a step wait that was refused, and wakes it at once if it has become free since. ARGV: who,
#: its ask (see ``enqueue``), the place of what refused it, from 1. Returns what ``pump`` says.
PARK = """
local who, a, woken, waits = ARGV[1], cjson.decode(ARGV[2]), {}, {}
local known = redis.call('HGET', L .. 'asks', who)
local q = queue_of(a.w[tonumber(ARGV[3])])
if known and cjson.decode(known).q ~= q then
  drop(cjson.decode(known).q, who)
  known = nil
end
if not known then enqueue(who, a, tonumber(ARGV[3])) end
pump(q, woken, waits)
return {woken, waits}
"""

#: Tells how a request went. ARGV: who, its wants, by how much each one's cost was wrong, and what
#: the provider said, in this order: {answered, source} and {refused, source} where it tells no
#: limits, {pause, key, ms}, {learned, source, what, number}, and {left, place of a want from 1,
#: remaining, ms since then at the most}. Returns what ``pump`` says.
TELL = """
local who, wants, woken, waits = ARGV[1], cjson.decode(ARGV[2]), {}, {}
local by = cjson.decode(ARGV[3])
for _, s in ipairs(cjson.decode(ARGV[4])) do
  if s[1] == 'answered' then
    local told = learned(s[2], 'window', 'refused')
    local n = tonumber(told[1] or UNKNOWN)
    set_window(s[2], math.min(n + (told[2] and 1 / n or 1), UNKNOWN_MOST))
  elseif s[1] == 'refused' then
    if read(L .. 'pause:' .. s[2]) <= now then
      set_window(s[2], math.max(tonumber(learned(s[2], 'window')[1] or UNKNOWN) / 2, 1), true)
    end
  elseif s[1] == 'pause' then
    local key = L .. 'pause:' .. s[2]
    local till = math.max(read(key), now + s[3])
    redis.call('SET', key, number(till), 'PX', math.ceil(till - now) + 1000)
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
for _, s in ipairs(cjson.decode(ARGV[4])) do
  local r = s[1] == 'left' and rate(wants[s[2]])
  if r then
    local level = now + r[3] - s[3] * r[4] - s[4]
    if level > math.max(read(L .. 'R:' .. r[2]), now) then set_rate('R:' .. r[2], level) end
  end
end
pump_all(wants, woken, waits)
return {woken, waits}
"""

#: Pumps queues. ARGV: their names; none: all. Returns what ``pump`` says.
PUMP = """
local woken, waits, queues = {}, {}, ARGV
if #queues == 0 then queues = redis.call('SMEMBERS', L .. 'queues') end
for _, q in ipairs(queues) do pump(q, woken, waits) end
return {woken, waits}
"""

#: Takes back what was granted to steps that will not come. ARGV: their ids. Returns as ``pump``.
REVOKE = """
local woken, waits = {}, {}
for _, who in ipairs(ARGV) do
  local granted = revoke(who)
  if granted then pump_all(granted, woken, waits) end
end
return {woken, waits}
"""

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

#: Closes keys for so long, or opens them. ARGV: ms or 0, then keys. Returns as ``pump``.
PAUSE = """
local woken, waits = {}, {}
for i = 2, #ARGV do
  local key = L .. 'pause:' .. ARGV[i]
  if ARGV[1] == '0' then
    redis.call('DEL', key)
    pump('P:' .. ARGV[i], woken, waits)
  else
    redis.call('SET', key, number(now + ARGV[1]), 'PX', tonumber(ARGV[1]) + 1000)
  end
end
return {woken, waits}
"""

#: The queues in which somebody waits.
QUEUES = "return redis.call('SMEMBERS', L .. 'queues')"

#: Looks at how steps wait. ARGV: their ids. Returns for each: the queue ('' if it does not wait),
#: its place from 0, and the ms until its turn, -1: unknown.
PLACES = """
local found = {}
for i, who in ipairs(ARGV) do
  local text = redis.call('HGET', L .. 'asks', who)
  local a = text and cjson.decode(text)
  local rank = a and redis.call('ZRANK', L .. 'queue:' .. a.q, who)
  found[i] = {'', 0, -1}
  if rank then
    local wait = -1
    for _, w in ipairs(a.w) do
      if queue_of(w) == a.q then
        wait = refused(w, who) or 0
        local r = (w[1] == 'R' or w[1] == 'L') and rate(w)
        if r then wait = math.ceil(wait + rank * r[5] * r[4]) end
      end
    end
    found[i] = {a.q, rank, wait}
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

#: All of them, by name.
SCRIPTS = {
    "ASK": ASK,
    "PARK": PARK,
    "TELL": TELL,
    "PUMP": PUMP,
    "REVOKE": REVOKE,
    "RENEW": RENEW,
    "PAUSE": PAUSE,
    "QUEUES": QUEUES,
    "PLACES": PLACES,
    "LOOK": LOOK,
}
