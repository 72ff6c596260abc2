"""The Lua scripts of budgets: each is one step of Redis, so all is checked before any is written.

Redis has a copy of each account that is in use, made of the journal, so that reserving is quick.
What is missing is never guessed: who finds no copy makes one of the journal. A copy may be lost
with reservations whose rows in the journal are not committed yet; so after a loss (no key that says
since when accounts are kept) all is closed for a moment, in which each of them is committed, or its
owner sees that it was late and reserves anew.

An account is a hash: ``g`` says which beginning it is of, ``1`` to ``3`` what was spent (nano-
dollars, tokens, calls), ``h1`` to ``h3`` what is reserved, ``d1`` to ``d3`` the part of it that is
in doubt, ``n`` the number of reservations, and ``x…`` each of them.
"""

from __future__ import annotations

from agents.governance.budgets import WARNED
from celery_agents import names

#: So long are accounts closed after a loss: longer than a reservation may be without its row (see
#: ``LATE_S`` of shared.py).
CLOSED_MS = 1_500
#: An account that nobody asks is forgotten after so long, and made anew of the journal.
KEPT_MS = 3_600_000

COMMON = (
    f"""
local B, CLOSED, KEPT, WARNED = '{names.BUDGET_KEYS}', {CLOSED_MS}, {KEPT_MS}, {WARNED}
"""
    """
local SINCE, HELD = B .. 'since', B .. 'held'
local NUMBERS = {'n', '1', '2', '3', 'h1', 'h2', 'h3', 'd1', 'd2', 'd3'}
local function text(x) return string.format('%.0f', x) end
local function parts(held)
  local found = {}
  for word in string.gmatch(held, '%S+') do found[#found + 1] = word end
  return found
end
-- An account, with one of its reservations, read at once.
local function read(name, id)
  local a = {key = B .. name}
  local f = redis.call('HMGET', a.key, 'g', 'z', 'x' .. id, unpack(NUMBERS))
  a.g, a.z, a.x = f[1], f[2], f[3]
  for i, field in ipairs(NUMBERS) do a[field] = tonumber(f[3 + i] or 0) end
  return a
end
-- Amounts are the digits that came: what Redis adds up is exact, and Lua's numbers would round it.
local function add(key, prefix, amounts, sign)
  for u = 1, 3 do
    if amounts[u] ~= '0' then redis.call('HINCRBY', key, prefix .. u, sign .. amounts[u]) end
  end
end
-- When it was reserved (0: read from the journal), and whether it is in doubt, stand behind it.
local function hold(key, id, amounts, at, doubtful)
  local words = amounts[1] .. ' ' .. amounts[2] .. ' ' .. amounts[3]
  redis.call('HSET', key, 'x' .. id, words .. ' ' .. at .. ' ' .. doubtful)
  redis.call('HINCRBY', key, 'n', 1)
  add(key, 'h', amounts, '')
  if doubtful == '1' then add(key, 'd', amounts, '') end
end
-- Milliseconds for which accounts are closed; 0: they are open.
local function closed()
  local since = redis.call('GET', SINCE)
  if not since then
    since = text(now)
    redis.call('SET', SINCE, since)
  end
  return math.max(CLOSED - (now - since), 0), since
end
"""
)

#: May this be reserved? ARGV: its id, the amounts (three), then for each account its key and its
#: bounds (three, -1: none). Returns {'closed', ms}, {'unknown', since, places from 1 …}, {'yes'}
#: or {'spent', place, unit from 1, whether it stays so, what is spent, what is reserved}.
ASK = """
local shut, since = closed()
if shut > 0 then return {'closed', shut} end
local id, amounts, at = ARGV[1], {ARGV[2], ARGV[3], ARGV[4]}, text(now)
local accounts, unknown, waits = {}, {'unknown', since}, nil
for i = 5, #ARGV, 4 do
  local a = read(ARGV[i], id)
  if a.g ~= since then
    local left = a.z and CLOSED - (now - a.z) or 0
    if left > 0 then return {'closed', left} end
    unknown[#unknown + 1] = (i - 1) / 4
  end
  accounts[#accounts + 1] = a
end
if #unknown > 2 then return unknown end
for p, a in ipairs(accounts) do
  -- One that was read from the journal was not looked at: it is among what is reserved.
  if not a.x or parts(a.x)[4] == '0' then
    for u = 1, 3 do
      local bound, asked = tonumber(ARGV[p * 4 + 1 + u]), tonumber(amounts[u])
      if bound >= 0 and asked > 0 then
        if a.x then asked = 0 end
        local spent, held = a['' .. u], a['h' .. u]
        if spent + a['d' .. u] + asked > bound then
          return {'spent', p, u, 1, text(spent), text(held)}
        end
        if not waits and spent + held + asked > bound then
          waits = {'spent', p, u, 0, text(spent), text(held)}
        end
      end
    end
  end
end
if waits then return waits end
for p, a in ipairs(accounts) do
  if a.n == 0 then redis.call('ZADD', HELD, 'NX', now, ARGV[p * 4 + 1]) end
  if not a.x then hold(a.key, id, amounts, at, '0') end
  redis.call('PEXPIRE', a.key, KEPT)
end
return {'yes'}
"""

#: Makes an account of the journal, unless there is one or all was lost since. ARGV: since when
#: accounts were kept as it was read, its key, what is spent (three), then for each reservation its
#: id, its amounts (three) and whether it is in doubt.
SEED = """
local a = read(ARGV[2], '')
if redis.call('GET', SINCE) ~= ARGV[1] or a.g == ARGV[1] then return 0 end
redis.call('DEL', a.key)
redis.call('HSET', a.key, 'g', ARGV[1], 1, ARGV[3], 2, ARGV[4], 3, ARGV[5])
for i = 6, #ARGV, 5 do
  hold(a.key, ARGV[i], {ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]}, '0', ARGV[i + 4])
end
redis.call('PEXPIRE', a.key, KEPT)
redis.call('ZADD', HELD, 'NX', now, ARGV[2])
return 1
"""

#: Settles a reservation; one that is not there, because it was settled before, changes nothing.
#: ARGV: its id, what it has cost (three), then for each account its key and its bounds. Returns the
#: places, from 1, of accounts of which so much is spent now for the first time that people are
#: warned.
TELL = """
local warned, cost = {}, {ARGV[2], ARGV[3], ARGV[4]}
for i = 5, #ARGV, 4 do
  local a = read(ARGV[i], ARGV[1])
  if a.x then
    local held = parts(a.x)
    redis.call('HDEL', a.key, 'x' .. ARGV[1])
    redis.call('HINCRBY', a.key, 'n', -1)
    add(a.key, 'h', held, '-')
    if held[5] == '1' then add(a.key, 'd', held, '-') end
    add(a.key, '', cost, '')
    for u = 1, 3 do
      local bound = tonumber(ARGV[i + u])
      if bound > 0 and a['' .. u] + cost[u] >= WARNED * bound
        and redis.call('HSETNX', a.key, 'w', 1) == 1 then
        warned[#warned + 1] = (i - 1) / 4
      end
    end
  end
end
return warned
"""

#: The keys of accounts with reservations that nobody has looked at for so long. ARGV: ms.
KEYS_HELD = """
local found = redis.call('ZRANGEBYSCORE', HELD, '-inf', now - ARGV[1], 'LIMIT', 0, 100)
for _, key in ipairs(found) do
  if tonumber(redis.call('HGET', B .. key, 'n') or 0) == 0 then
    redis.call('ZREM', HELD, key)
  else
    redis.call('ZADD', HELD, now, key)
  end
end
return found
"""

#: The reservations of an account that are so old. ARGV: its key, ms. Returns for each: its id, ms
#: since then, -1 where it was read from the journal, and whether it is in doubt.
HOLDS = """
local found, all = {}, redis.call('HGETALL', B .. ARGV[1])
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 1) == 'x' then
    local held = parts(all[i + 1])
    local age = held[4] == '0' and -1 or now - held[4]
    if age < 0 or age >= tonumber(ARGV[2]) then
      found[#found + 1] = {string.sub(all[i], 2), age, held[5]}
    end
  end
end
return found
"""

#: Notes that reservations are in doubt. ARGV: the account's key, their ids.
DOUBT = """
for i = 2, #ARGV do
  local a = read(ARGV[1], ARGV[i])
  local held = a.x and parts(a.x)
  if held and held[5] == '0' then
    held[5] = '1'
    redis.call('HSET', a.key, 'x' .. ARGV[i], table.concat(held, ' '))
    add(a.key, 'd', held, '')
  end
end
return 0
"""

#: Forgets an account, which is closed for a moment and made anew of the journal. ARGV: its key.
FORGET = """
redis.call('DEL', B .. ARGV[1])
redis.call('HSET', B .. ARGV[1], 'z', text(now))
redis.call('PEXPIRE', B .. ARGV[1], KEPT)
return 0
"""

#: Begins anew with all accounts, since Redis may have lost some of what it was told. It is run
#: where Redis does not know these scripts: it began anew itself.
LOST = "redis.call('SET', SINCE, text(now))"

#: All of them, by name.
SCRIPTS = {
    "ASK": ASK,
    "SEED": SEED,
    "TELL": TELL,
    "KEYS_HELD": KEYS_HELD,
    "HOLDS": HOLDS,
    "DOUBT": DOUBT,
    "FORGET": FORGET,
}
