"""The Lua scripts of the shared cache: each is one step of Redis.

The cache bounds its own bytes, in the script that writes, since the broker drops nothing by itself
and must not: it holds messages. What goes is chosen by "greedy dual size frequency" (L. Cherkasova:
"Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy", HP Labs 1998):
the entry with the least ``age + hits * worth / bytes``, where the age is that of what went last.

Of each key one asks at a time, its leader, under a lease; others wait in a queue of that key.
Keys are made here, so these do not run on Redis Cluster.
"""

from __future__ import annotations

from celery_agents import names

#: Bytes that Redis takes for an entry beside its value: measured on Valkey 9, and some more.
OVERHEAD_BYTES = 700
#: And for its vector.
VECTOR_BYTES = 300
#: An entry may have this part of all bytes, so that one never drives out more than some.
LARGEST_PART = 8
#: So long nobody leads for a key whose answers are not kept: all ask at once.
ALONE_MS = 30_000
#: Who is woken to lead is expected within this; else the next one is.
WOKEN_MS = 2_000
#: A queue that nobody looks at ends.
KEPT_MS = 24 * 3600 * 1000
#: Entries that have ended and go along with one write.
ENDED = 20

COMMON = (
    f"""
local C, OVERHEAD, PART, ENDED = '{names.CACHE_KEYS}', {OVERHEAD_BYTES}, {LARGEST_PART}, {ENDED}
local VECTOR = {VECTOR_BYTES}
local ALONE, WOKEN, KEPT = {ALONE_MS}, {WOKEN_MS}, {KEPT_MS}
"""
    """
local VALUES, FACTS, ORDER, ENDS, STATS = C..'values', C..'facts', C..'order', C..'ends', C..'stats'
local VECTORS = C..'vectors'

-- Facts of an entry: h(its), s(ize), w(orth), p(rice), u(ntil), n(ame), and g(roup) of vectors.
local function facts(key)
  local text = redis.call('HGET', FACTS, key)
  return text and cjson.decode(text)
end

local function count(what, name, by) redis.call('HINCRBYFLOAT', STATS, what .. ':' .. name, by) end

local function drop(key, f)
  redis.call('HDEL', VALUES, key)
  redis.call('HDEL', FACTS, key)
  redis.call('ZREM', ORDER, key)
  redis.call('ZREM', ENDS, key)
  if f.g then
    redis.call('HDEL', VECTORS, key)
    redis.call('ZREM', C .. 'near:' .. f.g, key)
  end
  count('all', 'bytes', -f.s)
  count('bytes', f.n, -f.s)
  count('entries', f.n, -1)
end

local function rank(key, f)
  local age = tonumber(redis.call('HGET', STATS, 'all:age') or 0)
  redis.call('ZADD', ORDER, string.format('%.17g', age + f.h * f.w / f.s), key)
  redis.call('HSET', FACTS, key, cjson.encode(f))
end

local function evict()
  local first = redis.call('ZPOPMIN', ORDER)
  if not first[1] then return false end
  redis.call('HSET', STATS, 'all:age', first[2])
  drop(first[1], facts(first[1]))
  return true
end

local function live(key)
  local f = facts(key)
  if f and f.u <= now then drop(key, f); f = nil end
  return f
end

-- Everybody who waits for a key, or the first one.
local function let_go(key, all)
  local queue = C .. 'wait:' .. key
  local woken = redis.call('ZRANGE', queue, 0, all and -1 or 0)
  if all then redis.call('DEL', queue)
  elseif woken[1] then redis.call('ZREM', queue, woken[1]) end
  return woken
end

local function leads(key) return redis.call('GET', C .. 'lead:' .. key) end
"""
)

#: Looks for an answer. ARGV: key, who, lease in ms, the end of the one that is known here ('' of
#: none), how, the name. How is use or refresh; count one that is known here; or, of a question
#: that was missed, take that of a similar one, or compare it, which does not count. Returns {1,
#: value or '' if it is known, its end, its price}; {2, ms of the lease}: somebody asks; {3}: who
#: leads now; {0}: nobody leads.
LOOK = """
local key, who, known, how, name = ARGV[1], ARGV[2], ARGV[4], ARGV[5], ARGV[6]
local f = how ~= 'refresh' and live(key)
if f then
  local till = string.format('%.0f', f.u)
  local here = till == known
  if how ~= 'compare' then
    f.h = f.h + 1
    rank(key, f)
    count(how == 'similar' and how or here and 'local' or 'shared', name, 1)
    count('saved', name, f.p)
    if how == 'similar' then count('misses', name, -1) end
  end
  return {1, here and '' or redis.call('HGET', VALUES, key), till, string.format('%.17g', f.p)}
end
if how ~= 'use' and how ~= 'refresh' then return {0} end
local leader = leads(key)
local other = leader and leader ~= '' and leader ~= who
if how == 'use' and other then return {2, redis.call('PTTL', C .. 'lead:' .. key)} end
if how == 'use' then count('misses', name, 1) end
if leader == '' or other then return {0} end
redis.call('SET', C .. 'lead:' .. key, who, 'PX', ARGV[3])
return {3}
"""

#: Keeps an answer. ARGV: key, who, ms for which, its price, its worth, the name, the most bytes of
#: all, the value, and for similar questions the group and the vector. Returns its end (0: it is not
#: kept), and those who waited for it.
PUT = """
local key, who, name, most, value = ARGV[1], ARGV[2], ARGV[6], tonumber(ARGV[7]), ARGV[8]
local group, vector = ARGV[9], ARGV[10] or ''
local size, old, till = #value + #name + OVERHEAD, facts(key), 0
if group then size = size + #vector + VECTOR end
if old then drop(key, old) end
if size <= most / PART then
  for _, ended in ipairs(redis.call('ZRANGE', ENDS, '-inf', now, 'BYSCORE', 'LIMIT', 0, ENDED)) do
    drop(ended, facts(ended))
  end
  local bytes = tonumber(redis.call('HGET', STATS, 'all:bytes') or 0)
  while bytes + size > most and evict() do
    bytes = tonumber(redis.call('HGET', STATS, 'all:bytes'))
  end
  till = now + ARGV[3]
  redis.call('HSET', VALUES, key, value)
  redis.call('ZADD', ENDS, till, key)
  count('all', 'bytes', size)
  count('bytes', name, size)
  count('entries', name, 1)
  if group then
    redis.call('HSET', VECTORS, key, vector)
    redis.call('ZADD', C .. 'near:' .. group, redis.call('HINCRBY', STATS, 'all:place', 1), key)
  end
  rank(key, {
    h = old and old.h or 1, s = size, w = tonumber(ARGV[5]), p = tonumber(ARGV[4]), u = till,
    n = name, g = group,
  })
end
if leads(key) == who then redis.call('DEL', C .. 'lead:' .. key) end
return {string.format('%.0f', till), let_go(key, true)}
"""

#: Leads no more, without an answer. ARGV: key, who, alone: all ask by themselves for a while, or
#: next: the first who waits leads. Returns who is to be woken.
LEAVE = """
local key, lead = ARGV[1], C .. 'lead:' .. ARGV[1]
if redis.call('GET', lead) ~= ARGV[2] then return {} end
if ARGV[3] == 'alone' then
  redis.call('SET', lead, '', 'PX', ALONE)
  return let_go(key, true)
end
redis.call('DEL', lead)
return let_go(key, false)
"""

#: Leads on. ARGV: key, who, lease in ms. A Redis that has lost it is told anew.
RENEW = """
local lead = C .. 'lead:' .. ARGV[1]
local leader = redis.call('GET', lead)
if not leader or leader == ARGV[2] then redis.call('SET', lead, ARGV[2], 'PX', ARGV[3]) end
return 0
"""

#: Lets who found a leader wait, whose row has been given back. ARGV: key, who, the place in the
#: queue. Returns who is to be woken: itself, where there is nobody to wait for any more.
PARK = """
local key, who, queue = ARGV[1], ARGV[2], C .. 'wait:' .. ARGV[1]
local leader = leads(key)
if live(key) or not leader or leader == '' or leader == who then return {who} end
redis.call('ZADD', queue, ARGV[3], who)
redis.call('PEXPIRE', queue, KEPT)
return {}
"""

#: Looks after those who wait. ARGV: key. Returns the ms until it is to be looked at again (-1: not
#: any more), and who is to be woken: the next one leads, if the leader is gone.
PUMP = """
local key = ARGV[1]
if redis.call('EXISTS', C .. 'wait:' .. key) == 0 then return {-1, {}} end
local left = redis.call('PTTL', C .. 'lead:' .. key)
if left > 0 then return {left, {}} end
return {WOKEN, let_go(key, false)}
"""

#: Reads vectors of a group. ARGV: the group, the place behind which, how many. Returns the newest
#: place of all groups, and a flat list of place, key and vector.
NEAR = """
local found, from = {}, '(' .. ARGV[2]
local near = redis.call('ZRANGE', C .. 'near:' .. ARGV[1], from, '+inf', 'BYSCORE', 'LIMIT', 0,
  ARGV[3], 'WITHSCORES')
for i = 1, #near, 2 do
  found[#found + 1] = near[i + 1]
  found[#found + 1] = near[i]
  found[#found + 1] = redis.call('HGET', VECTORS, near[i])
end
return {tonumber(redis.call('HGET', STATS, 'all:place') or 0), found}
"""

#: Forgets answers. ARGV: their keys. Returns how many there were.
FORGET = """
local gone = 0
for _, key in ipairs(ARGV) do
  local f = facts(key)
  if f then drop(key, f); gone = gone + 1 end
end
return gone
"""

#: All numbers that are counted, as a flat list of what:name and number.
STATS = "return redis.call('HGETALL', STATS)"

#: All of them, by name.
SCRIPTS = {
    "LOOK": LOOK,
    "PUT": PUT,
    "LEAVE": LEAVE,
    "RENEW": RENEW,
    "PARK": PARK,
    "PUMP": PUMP,
    "NEAR": NEAR,
    "FORGET": FORGET,
    "STATS": STATS,
}
