"""The Lua script of routers: choosing among several and reserving is one step of Redis."""

from __future__ import annotations

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
  write()
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
write()
return {0, told}
"""
