"""The queues of limits in Lua: who waits stands in one, and is granted its wants in its turn.

The order is fair: by priority, then by tenants in turn ("start-time fair queuing", P. Goyal et al.,
1996), a step counting as much as it takes of that limit, by its tenant's weight. Whoever frees
something pumps: who stands first is granted all that it wants, in the same step of Redis, and
named, to be woken.
"""

from __future__ import annotations

#: Runs behind ``RULES``; pumping needs no more.
QUEUES = """
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

local function pump_all(wants, woken, waits)
  if redis.call('EXISTS', L .. 'queues') == 1 then
    for _, w in ipairs(wants) do
      local q = queue_of(w)
      if redis.call('EXISTS', L .. 'queue:' .. q) == 1 then pump(q, woken, waits) end
    end
  end
end
"""
