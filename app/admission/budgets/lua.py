"""The Lua scripts of budgets: each is one step of Redis, so all is checked before any is written.

Redis has a copy of each account that is in use, made of the journal, so that reserving is quick.
What is missing is never guessed: who finds no copy makes one of the journal. A copy may be lost
with reservations whose rows in the journal are not committed yet; so after a loss (no key that says
since when accounts are kept) all is closed for a moment, in which each of them is committed, or its
owner sees that it was late and reserves anew.

An account is a hash: ``g`` says which beginning it is of, ``z`` when it was forgotten, ``1`` to
``3`` what was spent (nano-dollars, tokens, calls), ``h1`` to ``h3`` what is reserved, ``d1`` to
``d3`` the part of it that is in doubt, ``n`` the number of reservations, ``x…`` each of them, and
``t`` when it was last said how long it is kept. A command takes longer than all that Lua does with
numbers, so what a script changes of an account is one.
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
local MOST = 2 ^ 53
local SPENT, HOLDS, DOUBTS = {'1', '2', '3'}, {'h1', 'h2', 'h3'}, {'d1', 'd2', 'd3'}
local NUMBERS = {'n', unpack(SPENT)}
for u = 1, 3 do NUMBERS[4 + u], NUMBERS[7 + u] = HOLDS[u], DOUBTS[u] end
local function text(x) return string.format('%.0f', x) end
local function parts(held)
  local found = {}
  for word in string.gmatch(held, '%S+') do found[#found + 1] = word end
  return found
end
-- An account with some of its reservations (x), by their ids, read at once.
local function read(name, ids)
  local a, fields = {key = B .. name, x = {}, set = {}}, {'g', 'z', 't', unpack(NUMBERS)}
  local known = #fields
  for i, id in ipairs(ids) do fields[known + i] = 'x' .. id end
  local f = redis.call('HMGET', a.key, unpack(fields))
  a.g, a.z, a.t = f[1], f[2], f[3]
  for i, field in ipairs(NUMBERS) do a[field] = tonumber(f[3 + i] or 0) end
  for i, id in ipairs(ids) do a.x[id] = f[known + i] or nil end
  return a
end
-- What is set is written at once, by ``write``.
local function set(a, field, value)
  local n = #a.set
  a.set[n + 1], a.set[n + 2] = field, value
end
-- Says anew, now and then, for how long an account is kept.
local function keep(a)
  a.kept = now - (a.t or 0) > KEPT / 4
  if a.kept then set(a, 't', text(now)) end
end
local function write(a)
  if #a.set > 0 then redis.call('HSET', a.key, unpack(a.set)) end
  if a.kept then redis.call('PEXPIRE', a.key, KEPT) end
end
local function count(a, more) set(a, 'n', text(a.n + more)) end
-- Adds amounts, three each, or takes them away. They are the digits that came, and what Redis adds
-- up is exact; so are Lua's numbers, as long as they are small enough.
local function add(a, fields, all, sign)
  for u = 1, 3 do
    local field, sum = fields[u], 0
    for _, amounts in ipairs(all) do sum = sum + amounts[u] end
    if a[field] + sum >= MOST then
      for _, amounts in ipairs(all) do
        if tonumber(amounts[u]) > 0 then
          redis.call('HINCRBY', a.key, field, (sign or '') .. amounts[u])
        end
      end
    elseif sum > 0 then
      set(a, field, text(sign and a[field] - sum or a[field] + sum))
    end
  end
end
-- What stands of a reservation. When it was made (0: read from the journal), and whether it is in
-- doubt, stand behind its amounts.
local function words(amounts, at, doubtful)
  return amounts[1] .. ' ' .. amounts[2] .. ' ' .. amounts[3] .. ' ' .. at .. ' ' .. doubtful
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

#: May these be reserved, all in the same accounts? ARGV: how many accounts; for each its key and
#: its bounds (three, -1: none); then for each reservation its id and the amounts (three). Returns
#: for each {'closed', ms}, {'unknown', then for each account its place from 1, and what a copy has
#: to be of}, {'yes'} or {'spent', place, unit from 1, whether it stays so, what is spent, what is
#: reserved}.
ASK = """
local shut, since = closed()
local behind, ids, asked, found, at = 1 + 4 * ARGV[1], {}, {}, {}, text(now)
for i = behind + 1, #ARGV, 4 do
  ids[#ids + 1], asked[#asked + 1] = ARGV[i], {ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]}
end
local function all(answer)
  for i = 1, #ids do found[i] = answer end
  return found
end
if shut > 0 then return all({'closed', shut}) end
local accounts, unknown = {}, {'unknown'}
for i = 2, behind, 4 do
  local a = read(ARGV[i], ids)
  a.bounds = {tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])}
  a.spent, a.held, a.doubted, a.new = {}, {}, {}, {}
  for u = 1, 3 do a.spent[u], a.held[u], a.doubted[u] = a[SPENT[u]], a[HOLDS[u]], a[DOUBTS[u]] end
  if a.g ~= since then
    local left = a.z and CLOSED - (now - a.z) or 0
    if left > 0 then return all({'closed', left}) end
    local n = #unknown
    unknown[n + 1], unknown[n + 2] = (i + 2) / 4, since .. '/' .. (a.z or '')
  end
  accounts[#accounts + 1] = a
end
if #unknown > 1 then return all(unknown) end
local function refused(id, amounts)
  local waits = nil
  for p, a in ipairs(accounts) do
    local x = a.x[id]
    -- One that was read from the journal was not looked at: it is among what is reserved.
    if not x or parts(x)[4] == '0' then
      for u = 1, 3 do
        local bound, asks = a.bounds[u], amounts[u]
        if bound >= 0 and asks > 0 then
          if x then asks = 0 end
          local spent, held = a.spent[u], a.held[u]
          if spent + a.doubted[u] + asks > bound then
            return {'spent', p, u, 1, text(spent), text(held)}
          end
          if not waits and spent + held + asks > bound then
            waits = {'spent', p, u, 0, text(spent), text(held)}
          end
        end
      end
    end
  end
  return waits
end
local yes = {'yes'}
for i, id in ipairs(ids) do
  local amounts = {tonumber(asked[i][1]), tonumber(asked[i][2]), tonumber(asked[i][3])}
  found[i] = refused(id, amounts)
  if not found[i] then
    found[i] = yes
    local held = words(asked[i], at, '0')
    for _, a in ipairs(accounts) do
      if not a.x[id] then
        a.x[id], a.new[#a.new + 1] = held, asked[i]
        set(a, 'x' .. id, held)
        for u = 1, 3 do a.held[u] = a.held[u] + amounts[u] end
      end
    end
  end
end
for p, a in ipairs(accounts) do
  if #a.new > 0 then
    if a.n == 0 then redis.call('ZADD', HELD, 'NX', now, ARGV[p * 4 - 2]) end
    count(a, #a.new)
    add(a, HOLDS, a.new)
  end
  keep(a)
  write(a)
end
return found
"""

#: Makes an account of the journal, unless there is one, or it was lost since the journal was read,
#: alone or with all: whoever reads may be slow, and others have made it meanwhile and reserved.
#: ARGV: what the copy is of, as ``ASK`` said before that, its key, what is spent (three), then for
#: each reservation its id, its amounts (three) and whether it is in doubt.
SEED = """
local since, a, held, doubted = redis.call('GET', SINCE), read(ARGV[2], {}), {}, {}
if not since or a.g == since or since .. '/' .. (a.z or '') ~= ARGV[1] then return 0 end
redis.call('DEL', a.key)
a = read(ARGV[2], {})
redis.call('HSET', a.key, 'g', since, 1, ARGV[3], 2, ARGV[4], 3, ARGV[5])
for i = 6, #ARGV, 5 do
  local amounts = {ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]}
  redis.call('HSET', a.key, 'x' .. ARGV[i], words(amounts, '0', ARGV[i + 4]))
  held[#held + 1] = amounts
  if ARGV[i + 4] == '1' then doubted[#doubted + 1] = amounts end
end
count(a, #held)
add(a, HOLDS, held)
add(a, DOUBTS, doubted)
keep(a)
write(a)
redis.call('ZADD', HELD, 'NX', now, ARGV[2])
return 1
"""

#: Settles reservations in the same accounts; one that is not there, because it was settled before,
#: changes nothing. ARGV: how many accounts; for each its key and its bounds; then for each
#: reservation its id and what it has cost (three). Returns for each the places, from 1, of accounts
#: of which so much is spent now for the first time that people are warned.
TELL = """
local behind, ids, costs, warned = 1 + 4 * ARGV[1], {}, {}, {}
for i = behind + 1, #ARGV, 4 do
  ids[#ids + 1], costs[#costs + 1] = ARGV[i], {ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]}
  warned[#warned + 1] = {}
end
for i = 2, behind, 4 do
  local a, gone, freed, doubted, spent = read(ARGV[i], ids), {}, {}, {}, {}
  local sums, bounds = {a['1'], a['2'], a['3']}, {}
  for u = 1, 3 do bounds[u] = tonumber(ARGV[i + u]) end
  for n, id in ipairs(ids) do
    local x = a.x[id]
    if x then
      local held = parts(x)
      a.x[id] = nil
      gone[#gone + 1], freed[#freed + 1], spent[#spent + 1] = 'x' .. id, held, costs[n]
      if held[5] == '1' then doubted[#doubted + 1] = held end
      for u = 1, 3 do
        sums[u] = sums[u] + costs[n][u]
        if bounds[u] > 0 and sums[u] >= WARNED * bounds[u]
          and redis.call('HSETNX', a.key, 'w', 1) == 1 then
          table.insert(warned[n], (i + 2) / 4)
        end
      end
    end
  end
  if #gone > 0 then
    redis.call('HDEL', a.key, unpack(gone))
    count(a, -#gone)
    add(a, HOLDS, freed, '-')
    add(a, DOUBTS, doubted, '-')
    add(a, SPENT, spent)
    write(a)
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
local a, doubted = read(ARGV[1], {unpack(ARGV, 2)}), {}
for i = 2, #ARGV do
  local held = a.x[ARGV[i]] and parts(a.x[ARGV[i]])
  if held and held[5] == '0' then
    doubted[#doubted + 1] = held
    redis.call('HSET', a.key, 'x' .. ARGV[i], words(held, held[4], '1'))
  end
end
add(a, DOUBTS, doubted)
write(a)
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
