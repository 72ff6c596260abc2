"""The rules of limits in Lua: what refuses a request, what it takes, what it was granted.

They are those of ``agents/governance/limits.py``. Each function that a script defines takes Redis
time, so who does not need some leaves them out. A want is a JSON list: its kind (its first letter
there) and its fields. Who asks is a step's id. All wants are checked before any is written.
"""

from __future__ import annotations

from agents.governance.limits import UNKNOWN_AT_ONCE, UNKNOWN_MOST
from celery_agents import names

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
#: Who was refused stands in the queue after so long, once its row is given back; or never.
COMING_MS = 5_000

RULES = (
    f"""
local L, UNKNOWN, UNKNOWN_MOST = '{names.LIMIT_KEYS}', {UNKNOWN_AT_ONCE}, {UNKNOWN_MOST}
local GRANT, LOST, KEPT, MOST = {GRANT_MS}, {LOST_MS}, {KEPT_MS}, {WOKEN_MAX}
local SHORT, HELD, COMING = {SHORT_MS}, {HELD_MS}, {COMING_MS}
"""
    """
local function number(x) return string.format('%.17g', x) end
-- Nothing is closed or kept for longer: Redis refuses such times, and so all that a script does.
local FAR = 1e12
-- Numbers by their keys, each read once a script; those that it changes, and sets that it adds to,
-- with the ms for which they are kept: ``write`` does that once for all that it has done.
local seen, changed, kept = {}, {}, {}
local function read(key)
  local known = seen[key]
  if not known then
    known = tonumber(redis.call('GET', key) or 0)
    seen[key] = known
  end
  return known
end

-- The key under which something is kept of a want's name; made once a script.
local named = {}
local function key_of(kind, name)
  local of = named[kind]
  if not of then
    of = {}
    named[kind] = of
  end
  local key = of[name]
  if not key then
    key = L .. kind .. ':' .. name
    of[name] = key
  end
  return key
end

-- Reads all numbers of a request in one command.
local function foresee(wants)
  local keys = {}
  for _, w in ipairs(wants) do
    if w[1] == 'P' then keys[#keys + 1] = key_of('pause', w[2])
    elseif w[1] == 'R' then
      keys[#keys + 1] = key_of('R', w[2])
      keys[#keys + 1] = key_of('X', w[2])
    end
  end
  if #keys > 1 then
    local found = redis.call('MGET', unpack(keys))
    for i, key in ipairs(keys) do seen[key] = tonumber(found[i] or 0) end
  end
end

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

-- Closes a key until then, or opens it.
local function pause(key, till)
  key = L .. 'pause:' .. key
  till = till and math.min(till, now + FAR)
  seen[key] = till or 0
  if till then redis.call('SET', key, number(till), 'PX', math.ceil(till - now) + 1000)
  else redis.call('DEL', key) end
end

local function slots(w) return w[1] == 'S' or w[1] == 'U' end

local function refused(w, who)
  if w[1] == 'P' then
    local left = read(key_of('pause', w[2])) - now
    if left > 0 then return math.ceil(left) end
  elseif slots(w) then
    local n, key = most(w), key_of(w[1], w[2])
    if n and redis.call('ZCARD', key) >= n then
      redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
      if redis.call('ZCARD', key) >= n and not redis.call('ZSCORE', key, who) then return -1 end
    end
  else
    local r = rate(w)
    if r then
      local paid_off = math.max(read(key_of('R', r[2])), now)
      local wait = paid_off + math.min(r[5] * r[4], r[3]) - now - r[3]
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
  local key = key_of(w[1], w[2])
  redis.call('ZADD', key, now + lease, who)
  kept[key] = lease + KEPT
end

local function set_rate(key, paid_off)
  seen[key], changed[key] = paid_off, paid_off
end

-- Every script that takes, gives back or counts something ends with this.
local function write()
  for key, paid_off in pairs(changed) do
    local ms = math.ceil(math.min(math.max(paid_off - now, 0), FAR)) + KEPT
    redis.call('SET', key, number(paid_off), 'PX', ms)
  end
  for key, ms in pairs(kept) do redis.call('PEXPIRE', key, ms) end
end

local function take(wants, who, lease)
  for _, w in ipairs(wants) do
    if slots(w) then
      if most(w) then hold(w, who, lease) end
    elseif w[1] ~= 'P' then
      local r = rate(w)
      if r then
        local key = key_of('R', r[2])
        set_rate(key, math.max(read(key), now) + r[5] * r[4])
      end
    end
  end
end

-- Counts what goes out in so many milliseconds; returns those until it is not too early.
local function send(wants, later)
  local early = later
  for _, w in ipairs(wants) do
    local r = (w[1] == 'R' or w[1] == 'L') and rate(w)
    if r then
      local takes, key = r[5] * r[4], key_of('X', r[2])
      local paid_off = math.max(read(key), now + later) + takes
      set_rate(key, paid_off)
      early = math.max(early, paid_off - now - math.max(r[3], takes))
    end
  end
  return math.ceil(early)
end

local function correct(w, by, kind)
  local r = by ~= 0 and rate(w)
  if not r then return end
  local key = key_of(kind, r[2])
  local paid_off = read(key)
  if by > 0 then paid_off = math.max(paid_off, now) elseif paid_off <= now then return end
  set_rate(key, paid_off + by * r[4])
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

"""
)

#: Of those who are refused. Runs behind ``RULES``, as does what follows.
REFUSALS = """
-- Who was refused and does not stand in the queue yet, in the order in which they asked: of a crowd
-- that asks at once each would else find the queue empty, and take its turn to be near.
local function before(q, who)
  local rank = redis.call('ZRANK', L .. 'queue:' .. q, who)
  if rank then return rank end
  local coming = L .. 'coming:' .. q
  redis.call('ZREMRANGEBYSCORE', coming, '-inf', now)
  redis.call('ZADD', coming, 'NX', now + COMING, who)
  redis.call('PEXPIRE', coming, COMING)
  return redis.call('ZCARD', L .. 'queue:' .. q) + redis.call('ZRANK', coming, who)
end

-- Whether somebody stands in a queue; looked at once a script, since who asks stands in none.
local queued, crowded = nil, {}
local function is_crowded(w)
  if queued == nil then queued = redis.call('EXISTS', L .. 'queues') == 1 end
  if not queued then return false end
  local q = queue_of(w)
  if crowded[q] == nil then crowded[q] = redis.call('EXISTS', L .. 'queue:' .. q) == 1 end
  return crowded[q]
end

-- The place of what refuses a request from 1, and the ms until it may not; also who stands before.
local function blocked(wants, who)
  local place, wait = check(wants, who)
  if not place then
    for i, w in ipairs(wants) do
      if is_crowded(w) then place, wait = i, 0; break end
    end
  end
  if not place then return nil end
  return place, wait, before(queue_of(wants[place]), who)
end
"""

#: Of those who were granted something while they waited.
GRANTS = """
local function release(wants, who)
  for _, w in ipairs(wants) do
    if slots(w) then redis.call('ZREM', L .. w[1] .. ':' .. w[2], who)
    elseif w[1] ~= 'P' then correct(w, -cost_of(w), 'R') end
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
