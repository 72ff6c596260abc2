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
#: Who was granted something and has not come for it in so long is woken once more: the process that
#: was to do it may be dead.
LOST_MS = 3_000
#: So many steps are woken or moved by one pump: Redis serves nobody else meanwhile.
WOKEN_MAX = 200
#: Who stands first stays there in a pause that is no longer; in a longer one it waits elsewhere.
SHORT_MS = 5_000
#: Who was woken before a pause began waits for its end in its slot, if that is no longer.
HELD_MS = 2_000

COMMON = (
    f"""
local L, UNKNOWN, UNKNOWN_MOST = '{names.LIMIT_KEYS}', {UNKNOWN_AT_ONCE}, {UNKNOWN_MOST}
local GRANT, LOST, KEPT, MOST = {GRANT_MS}, {LOST_MS}, {KEPT_MS}, {WOKEN_MAX}
local SHORT, HELD = {SHORT_MS}, {HELD_MS}
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

-- A: p(riority), t(enant), what that weighs (k), and o(ptions), of which it takes the first that is
-- free. Each has its w(ants), a name c if there are several, and the q(ueue) in which it stands. Of
-- options that wait in one queue all have one place there.
local function note(who, a) redis.call('HSET', L .. 'asks', who, cjson.encode(a)) end

local function stands(a, q)
  for _, o in ipairs(a.o) do if o.q == q then return true end end
end

local function enqueue(who, a, o, place)
  local q = queue_of(o.w[place])
  if not stands(a, q) then
    local fair = L .. 'fair:' .. q
    local of_all, own = 'v:' .. a.p, 'f:' .. a.p .. ':' .. a.t
    local tags = redis.call('HMGET', fair, of_all, own)
    local begin = math.max(tonumber(tags[1] or 0), tonumber(tags[2] or 0))
    redis.call('HSET', fair, own, number(begin + math.max(cost_of(o.w[place]), 1) / (a.k or 1)))
    redis.call('ZADD', L .. 'queue:' .. q, number(a.p * 1e12 + begin), who)
    redis.call('SADD', L .. 'queues', q)
  end
  o.q = q
  return q
end

local function drop(who, a)
  for _, o in ipairs(a.o) do
    if o.q then redis.call('ZREM', L .. 'queue:' .. o.q, who) end
  end
  redis.call('HDEL', L .. 'asks', who)
end

-- Milliseconds until the first slot may be free though nobody tells: its holder is dead by then.
local function lapse(w)
  local first = redis.call('ZRANGE', L .. w[1] .. ':' .. w[2], 0, 0, 'WITHSCORES')
  return first[2] and math.max(math.ceil(first[2] - now), 1) or 1
end

-- Looks at the options that stand in a queue: the first that is free; whether one stays, and the ms
-- until it may be free; those that wait elsewhere now, each with its place and its ms.
local function looked(who, a, q)
  local stays, moved = nil, {}
  for _, o in ipairs(a.o) do
    if o.q == q then
      local place, wait = check(o.w, who)
      if not place then return o, nil, {} end
      if wait < 0 then wait = lapse(o.w[place]) end
      local short = o.w[place][1] == 'P' and wait <= SHORT
      if short or queue_of(o.w[place]) == q then
        stays = stays and math.min(stays, wait) or wait
      else
        moved[#moved + 1] = {o, place, wait}
      end
    end
  end
  return nil, stays, moved
end

-- Grants those that stand first in a queue what they want. Names them in ``woken``; ``waits`` gets
-- queues to be pumped again, with the milliseconds until then.
local function pump(q, woken, waits)
  local function again(queue, ms) waits[#waits + 1] = queue; waits[#waits + 1] = ms end
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
      if n > MOST then again(q, 0); return end
      local a = cjson.decode(text)
      local free, stays, moved = looked(who, a, q)
      if free or not stays then
        redis.call('HSET', L .. 'fair:' .. q, 'v:' .. a.p, number(head[2] - a.p * 1e12))
      end
      if free then
        drop(who, a)
        take(free.w, who, GRANT)
        redis.call('SET', L .. 'grant:' .. who, cjson.encode(free), 'PX', GRANT)
        redis.call('ZADD', L .. 'granted', now + LOST, who)
        woken[#woken + 1] = who
      else
        for _, m in ipairs(moved) do again(enqueue(who, a, m[1], m[2]), m[3]) end
        if not stays then redis.call('ZREM', L .. 'queue:' .. q, who) end
        if #moved > 0 then note(who, a) end
        if stays then again(q, stays); return end
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

local function ungrant(who)
  redis.call('DEL', L .. 'grant:' .. who)
  redis.call('ZREM', L .. 'granted', who)
end

-- Takes back a grant that nobody has used; returns what it was for.
local function revoke(who)
  local granted = redis.call('GET', L .. 'grant:' .. who)
  if not granted then return nil end
  ungrant(who)
  granted = cjson.decode(granted).w
  release(granted, who)
  return granted
end

-- The place of what refuses a request from 1, and the ms until it may not; also who stands before.
local function blocked(wants, who)
  local place, wait = check(wants, who)
  if not place and redis.call('EXISTS', L .. 'queues') == 1 then
    for i, w in ipairs(wants) do
      if redis.call('EXISTS', L .. 'queue:' .. queue_of(w)) == 1 then place, wait = i, 0; break end
    end
  end
  if not place then return nil end
  local queue = L .. 'queue:' .. queue_of(wants[place])
  return place, wait, redis.call('ZRANK', queue, who) or redis.call('ZCARD', queue)
end

-- The ms for which its keys are closed.
local function closed_for(wants, who)
  local closed = 0
  for _, w in ipairs(wants) do
    if w[1] == 'P' then closed = math.max(closed, refused(w, who) or 0) end
  end
  return closed
end

-- Uses what was granted; returns the ms until it is to go out.
local function use(granted, who, lease, closed)
  ungrant(who)
  for _, w in ipairs(granted) do
    local held = slots(w) and redis.call('ZSCORE', L .. w[1] .. ':' .. w[2], who)
    if held then hold(w, who, lease) end
  end
  return send(granted, closed)
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
    local closed = closed_for(wants, who)
    if closed <= HELD then return {use(cjson.decode(granted).w, who, lease, closed)} end
    revoke(who)
  end
end
local place, wait, before = blocked(wants, who)
if place then return {place, wait, before} end
take(wants, who, lease)
return {send(wants, 0)}
"""

#: Takes the first of several options that its breakers and limits let through; runs behind the
#: breakers' own functions. ARGV: who, lease in ms, the call of the breakers, whether it may have a
#: grant, how the order is found ('load', 'turns' or 'order'), the name of the router, and options:
#: c (its name), b (keys of breakers), y (their policies), w(ants), s (the share of ``load`` that
#: one counts). Returns its place from 1, the ms until it is to go out, whether it is a probe, and
#: changes of breakers; or 0, and of each option what refuses it: {0, place of the breaker from 0,
#: ms} or {place of the want from 1, ms or -1, how many stand before it}.
CHOOSE = """
local who, lease, call, again = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'
local options, order, told = cjson.decode(ARGV[7]), {}, {}
for i in ipairs(options) do order[i] = i end
local function policies(o)
  for n, p in ipairs(o.y) do
    if type(p) == 'string' then o.y[n] = cjson.decode(p) end
  end
  return o.y
end
if ARGV[5] == 'load' then
  local loads = {}
  for i, o in ipairs(options) do
    loads[i] = redis.call('ZCOUNT', L .. 'S:' .. o.l, now, '+inf') * o.s
  end
  table.sort(order, function(x, y)
    if loads[x] == loads[y] then return x < y end
    return loads[x] < loads[y]
  end)
elseif ARGV[5] == 'turns' then
  local key = L .. 'turn:' .. ARGV[6]
  local first = redis.call('INCR', key)
  redis.call('PEXPIRE', key, KEPT)
  for i in ipairs(options) do order[i] = (first + i - 2) % #options + 1 end
end

local function let(i, early)
  local o = options[i]
  local _, _, records, changes = breakers_of(o.b, policies(o), call)
  return {i, early, probing(o.b, o.y, records, call), changes}
end

local granted = again and redis.call('GET', L .. 'grant:' .. who)
if granted then
  local g = cjson.decode(granted)
  for i, o in ipairs(options) do
    if o.c == g.c and not breakers_of(o.b, policies(o), call) then
      local closed = closed_for(o.w, who)
      if closed <= HELD then return let(i, use(g.w, who, lease, closed)) end
    end
  end
  revoke(who)
end
for _, i in ipairs(order) do
  local o = options[i]
  local by, ms = breakers_of(o.b, policies(o), call)
  if by then
    told[i] = {0, by - 1, ms}
  else
    local place, wait, before = blocked(o.w, who)
    if not place then
      local stood = again and redis.call('HGET', L .. 'asks', who)
      if stood then drop(who, cjson.decode(stood)) end
      take(o.w, who, lease)
      return let(i, send(o.w, 0))
    end
    told[i] = {place, wait, before}
  end
end
return {0, told}
"""

#: Lets a step wait that was refused, and wakes it at once if it has become free since. ARGV: who,
#: its ask (see ``enqueue``), the place of what refused each option, from 1. Returns as ``pump``.
PARK = """
local who, a, woken, waits = ARGV[1], cjson.decode(ARGV[2]), {}, {}
local places, known, queues = cjson.decode(ARGV[3]), redis.call('HGET', L .. 'asks', who), {}
for i, o in ipairs(a.o) do queues[i] = queue_of(o.w[places[i]]) end
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

#: All of them but ``CHOOSE``, which runs behind others, by name.
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
