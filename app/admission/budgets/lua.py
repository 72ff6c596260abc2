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
local function text(x) return string.format('%.0f', x) end
local function number(key, field) return tonumber(redis.call('HGET', key, field) or 0) end
local function parts(held)
  local found = {}
  for word in string.gmatch(held, '%S+') do found[#found + 1] = word end
  return found
end
local function add(key, prefix, amounts, sign)
  for u = 1, 3 do
    local by = sign * tonumber(amounts[u])
    if by ~= 0 then redis.call('HINCRBY', key, prefix .. u, text(by)) end
  end
end
-- When it was reserved (0: read from the journal), and whether it is in doubt, stand behind it.
local function hold(key, id, amounts, at, doubtful)
  local words = {amounts[1], amounts[2], amounts[3], text(at), doubtful}
  redis.call('HSET', key, 'x' .. id, table.concat(words, ' '))
  redis.call('HINCRBY', key, 'n', 1)
  add(key, 'h', amounts, 1)
  if doubtful == '1' then add(key, 'd', amounts, 1) end
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

#: May this be reserved? ARGV: its id, then for each account its key, its bounds (-1: none) and the
#: amounts, each three. Returns {'closed', ms}, {'unknown', since, places from 1 …}, {'yes'}, or
#: {'spent', place, unit from 1, whether it stays so, what is spent, what is reserved}.
ASK = """
local shut, since = closed()
if shut > 0 then return {'closed', shut} end
local unknown = {'unknown', since}
for p = 0, (#ARGV - 1) / 7 - 1 do
  local key = B .. ARGV[p * 7 + 2]
  local begun = redis.call('HMGET', key, 'g', 'z')
  if begun[1] ~= since then
    local left = begun[2] and CLOSED - (now - begun[2]) or 0
    if left > 0 then return {'closed', left} end
    unknown[#unknown + 1] = p + 1
  end
end
if #unknown > 2 then return unknown end
local waits
for p = 0, (#ARGV - 1) / 7 - 1 do
  local at = p * 7 + 2
  local key = B .. ARGV[at]
  -- One that was read from the journal was not looked at: it is among what is reserved.
  local known = redis.call('HGET', key, 'x' .. ARGV[1])
  if not known or parts(known)[4] == '0' then
    for u = 1, 3 do
      local bound, asked = tonumber(ARGV[at + u]), tonumber(ARGV[at + 3 + u])
      if bound >= 0 and asked > 0 then
        if known then asked = 0 end
        local spent, held = number(key, u), number(key, 'h' .. u)
        local doubt = number(key, 'd' .. u)
        if spent + doubt + asked > bound then
          return {'spent', p + 1, u, 1, text(spent), text(held)}
        end
        if not waits and spent + held + asked > bound then
          waits = {'spent', p + 1, u, 0, text(spent), text(held)}
        end
      end
    end
  end
end
if waits then return waits end
for p = 0, (#ARGV - 1) / 7 - 1 do
  local at = p * 7 + 2
  local key = B .. ARGV[at]
  if redis.call('HEXISTS', key, 'x' .. ARGV[1]) == 0 then
    hold(key, ARGV[1], {ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]}, now, '0')
  end
  redis.call('PEXPIRE', key, KEPT)
  redis.call('ZADD', HELD, 'NX', now, ARGV[at])
end
return {'yes'}
"""

#: Makes an account of the journal, unless there is one or all was lost since. ARGV: since when
#: accounts were kept as it was read, its key, what is spent (three), then for each reservation its
#: id, its amounts (three) and whether it is in doubt.
SEED = """
local key = B .. ARGV[2]
if redis.call('GET', SINCE) ~= ARGV[1] or redis.call('HGET', key, 'g') == ARGV[1] then return 0 end
redis.call('DEL', key)
redis.call('HSET', key, 'g', ARGV[1], 1, ARGV[3], 2, ARGV[4], 3, ARGV[5])
for i = 6, #ARGV, 5 do
  hold(key, ARGV[i], {ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]}, 0, ARGV[i + 4])
end
redis.call('PEXPIRE', key, KEPT)
redis.call('ZADD', HELD, 'NX', now, ARGV[2])
return 1
"""

#: Settles a reservation; one that is not there, because it was settled before, changes nothing.
#: ARGV: its id, what it has cost (three), then for each account its key and its bounds. Returns the
#: places, from 1, of accounts of which so much is spent now for the first time that people are
#: warned.
TELL = """
local warned = {}
for i = 5, #ARGV, 4 do
  local key = B .. ARGV[i]
  local held = redis.call('HGET', key, 'x' .. ARGV[1])
  if held then
    held = parts(held)
    redis.call('HDEL', key, 'x' .. ARGV[1])
    redis.call('HINCRBY', key, 'n', -1)
    add(key, 'h', held, -1)
    if held[5] == '1' then add(key, 'd', held, -1) end
    add(key, '', {ARGV[2], ARGV[3], ARGV[4]}, 1)
    for u = 1, 3 do
      local bound = tonumber(ARGV[i + u])
      if bound > 0 and number(key, u) >= WARNED * bound
        and redis.call('HSETNX', key, 'w', 1) == 1 then
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
  if number(B .. key, 'n') == 0 then
    redis.call('ZREM', HELD, key)
  else
    redis.call('ZADD', HELD, now, key)
  end
end
return found
"""

#: The reservations of an account. ARGV: its key. Returns for each: its id, ms since then, -1 where
#: it was read from the journal, and whether it is in doubt.
HOLDS = """
local found, all = {}, redis.call('HGETALL', B .. ARGV[1])
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 1) == 'x' then
    local held = parts(all[i + 1])
    local age = held[4] == '0' and -1 or now - held[4]
    found[#found + 1] = {string.sub(all[i], 2), age, held[5]}
  end
end
return found
"""

#: Notes that reservations are in doubt. ARGV: the account's key, their ids.
DOUBT = """
local key = B .. ARGV[1]
for i = 2, #ARGV do
  local held = redis.call('HGET', key, 'x' .. ARGV[i])
  held = held and parts(held)
  if held and held[5] == '0' then
    held[5] = '1'
    redis.call('HSET', key, 'x' .. ARGV[i], table.concat(held, ' '))
    add(key, 'd', held, 1)
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
