"""Fair taking: which tenant's message is next. Parts of the transport's scripts.

Tenants' messages stand in lists of their own, and a queue with any has a *ring*: who has something
there, for each priority. A place in the ring is one number: the priority, then what the tenant has
in flight ÷ its weight and its debt, then when it was last served. So what comes first there is
next: priority first, then whoever uses the fewest slots for its weight, then who waits longest.
Counts of messages that went out would give 91 % of the slots to steps of ten seconds beside such of
one. In flight is what consumers hold and have not acknowledged.

A debt is the seconds of slots ÷ weight, as the consumers' pools measure them, that a tenant has had
more than whoever waits for the next slot and has had the fewest. Shares by what is in flight alone
would lean: what is held uses no slot while it is claimed and written down, much of a short step's
time, and the slot goes meanwhile to whoever waits in the worker. By the debt that is given back. It
fades, so that nobody pays for long ago.

Messages of nobody in particular are another tenant's as long as there is a ring; without one they
are taken as ever, and nothing is counted.

Places are corrected when they come first, if they are too early, and whenever something is
acknowledged, if they are too late. Counts cannot drift: they are made anew, every second or two, of
the tags of what is unacknowledged, each of which says whose it is. A consumer that has died does
not say any more that it holds its messages, so they stop counting when its lease ends.

Scripts make keys of names here, so they do not run on Redis Cluster.
"""

from __future__ import annotations

from collections.abc import Mapping

from celery_agents import names
from celery_agents.transport import COUNTED_STEP, RING_BITS, Channel

#: Bits of a place for when a tenant was last served, and parts of a slot that one of weight 1
#: is charged at the most. Both are in a number that has 53 bits, with the priority.
SERVED_BITS = 28
LOADS = 64
LOAD_MOST = 2 ** (RING_BITS - SERVED_BITS) - 1
#: Messages of plain producers that one take looks through for tenants.
SORTED_MAX = 200
#: So many seconds of debt count as a message in flight; and the part of a debt that stays each time
#: that its queue is counted anew, which is every second or two.
DEBT_S, DEBT_KEPT = 10.0, 0.99
#: Bytes of a tenant's name in a header: 64 characters of UTF-8.
NAME_BYTES = 256


def lua_text(text: str) -> str:
    """Return a text as Lua reads it, whatever is in it."""
    return "'" + "".join(f"\\{byte:03d}" for byte in text.encode()) + "'"


def shares(weights: Mapping[str, float]) -> str:
    """Return what all scripts know of tenants' places.

    Weights stand in the text: none of them is sent with each take.
    """
    told = ", ".join(f"[{lua_text(name)}] = {weight!r}" for name, weight in sorted(weights.items()))
    return (
        f"""
local RING, HELD, HOLDERS = '{names.RING}', '{names.HELD}', '{names.HOLDERS}'
local MARK, SEPARATOR = {lua_text(names.TENANT_LIST)}, {lua_text(Channel.sep)}
local COUNTED, LOADS, LOAD_MOST = SEPARATOR .. '{COUNTED_STEP}', {LOADS}, {LOAD_MOST}
local PRIORITY, LOAD, SERVED_MOST = 2 ^ {RING_BITS}, 2 ^ {SERVED_BITS}, 2 ^ {SERVED_BITS} - 1
local DEBT, KEPT, LATER = {DEBT_S}, {DEBT_KEPT}, '{names.HELD}:later'
local WEIGHTS = {{{told}}}
"""
        """
local function weight(tenant) return WEIGHTS[tenant] or 1 end
local function place(priority, held, served, tenant, debt)
  local load = math.floor(LOADS * (held / weight(tenant) + debt / DEBT))
  return priority * PRIORITY + math.min(load, LOAD_MOST) * LOAD + served
end
local function whole(n) return string.format('%.0f', n) end

-- Of a tag: the consumer that has it, the queue and the tenant, if it counts for one.
local function owner(tag) return string.match(tag, '^([^.]*)%.[^\\n]*\\n(.*)\\n([^\\n]*)$') end

-- What is known of a tenant in a queue: messages in flight, when it was last served, its debt.
local function known_of(of)
  local found = redis.call('HMGET', HELD, 'n' .. of, 's' .. of, 'd' .. of)
  return tonumber(found[1] or 0), tonumber(found[2] or 0), tonumber(found[3] or 0)
end

local function move(queue, tenant, held, served, debt)
  local places = {}
  for priority = 0, 9 do
    local n = #places
    places[n + 1] = whole(place(priority, held, served, tenant, debt))
    places[n + 2] = priority .. ':' .. tenant
  end
  redis.call('ZADD', RING .. queue, 'XX', unpack(places))
end

local function lists_of(queue, priority, tenant)
  local ordinary = priority == 0 and queue or queue .. SEPARATOR .. priority
  local bulk, mark = queue .. SEPARATOR .. (priority + 10), tenant == '' and '' or MARK .. tenant
  return ordinary .. mark, bulk .. mark
end

-- So many messages of a tenant are no longer in flight.
local function lower(queue, tenant, by)
  local of = queue .. '\\n' .. tenant
  local held, served, debt = known_of(of)
  held = math.max(held - by, 0)
  if held == 0 then
    redis.call('HDEL', HELD, 'n' .. of)
  else
    redis.call('HSET', HELD, 'n' .. of, held)
  end
  move(queue, tenant, held, served, debt)
end

-- The same by the tags of messages. Of consumers that hold nothing any more nothing counts.
local function lower_all(tags)
  local by, counted = {}, {}
  for _, tag in ipairs(tags) do
    local who, queue, tenant = owner(tag)
    if who then
      if counted[who] == nil then counted[who] = redis.call('ZSCORE', HOLDERS, who) end
      if counted[who] then
        local of = queue .. '\\n' .. tenant
        by[of] = by[of] or {queue, tenant, 0}
        by[of][3] = by[of][3] + 1
      end
    end
  end
  for _, found in pairs(by) do lower(unpack(found)) end
end
"""
    )


#: Sorts what plain producers have sent to tenants' lists, and takes from the rings. Of TAKE.
FAIR = (
    f"""
local SORTED_MAX, NAME_BYTES, TENANT = {SORTED_MAX}, {NAME_BYTES}, '{names.TENANT}'
local WAKE = '{names.WAKE}'
"""
    """
local function queue_named(q) return string.sub(KEYS[5 + q], #WAKE + 1) end

-- The tenant in the headers of a message. In texts of its body the quotes would be escaped.
local function tenant_of(message)
  local at = string.find(message, '"' .. TENANT .. '"', 1, true)
  local begin = at and string.match(message, '^%s*:%s*()"', at + #TENANT + 2)
  if not begin then return nil end
  local place = string.find(message, '["\\\\]', begin + 1)  -- where it ends, or escapes something
  while place and string.sub(message, place, place) == '\\\\' do
    place = string.find(message, '["\\\\]', place + 2)
  end
  if not place then return nil end
  local read, found = pcall(cjson.decode, '[' .. string.sub(message, begin, place) .. ']')
  local name = read and found[1] or ''
  if name == '' or #name > NAME_BYTES or string.find(name, '%c') then return nil end
  return name
end

local function sort(queue, list, priority)
  local found, kept, moved = redis.call('LRANGE', list, -SORTED_MAX, -1), {}, {}
  for n = 1, #found do
    local tenant = tenant_of(found[n])
    if tenant then moved[#moved + 1] = {tenant, found[n]} else kept[#kept + 1] = found[n] end
  end
  if #moved == 0 then return end
  redis.call('LTRIM', list, 0, -#found - 1)
  if #kept > 0 then redis.call('RPUSH', list, unpack(kept)) end
  for n = #moved, 1, -1 do  -- the oldest first
    local tenant, message = unpack(moved[n])
    redis.call('LPUSH', list .. MARK .. tenant, message)
    redis.call('LPUSH', queue .. COUNTED, 1)
    redis.call('ZADD', RING .. queue, 'NX', whole(priority * PRIORITY), priority .. ':' .. tenant)
  end
end

-- Shares of tenants as this take changes them, by queue; and how often they were served, of all.
local known, served, gone = {}, nil, {}
local function share(queue, tenant)
  local of = queue .. '\\n' .. tenant
  if not known[of] then
    local held, last, debt = known_of(of)
    known[of] = {held = held, served = last, debt = debt, bulk = clock[2] % 2 == 0}
  end
  return known[of]
end

local function next_served()
  served = served or tonumber(redis.call('HGET', HELD, 'served') or 0)
  served = served + 1
  if served > SERVED_MOST then  -- it begins anew; places in the ring are put right by TEND
    served = 1
    for _, field in ipairs(redis.call('HKEYS', HELD)) do
      if string.sub(field, 1, 1) == 's' then redis.call('HDEL', HELD, field) end
    end
    for _, own in pairs(known) do own.served = 0 end
  end
  return served
end

-- The first priority at which a queue's ring has somebody, as it was read last; 10: it has nobody.
-- A take goes from priority to priority, and leaves nobody behind.
local first_at = {}
local function head_of(queue)
  local head = redis.call('ZRANGE', RING .. queue, 0, 0, 'WITHSCORES')
  local at, tenant = string.match(head[1] or '', '^(%d+):(.*)$')
  first_at[queue] = tonumber(at) or 10
  return head, tenant
end
local function waits_at(queue, priority)
  if not first_at[queue] then head_of(queue) end
  return first_at[queue] <= priority
end

-- The next message of a queue and a priority: its list, itself, and whose it is. ``ordinary`` and
-- ``bulk`` are the lists of nobody in particular.
local function fair_pop(queue, priority, ordinary, bulk)
  while waits_at(queue, priority) do
    local head, tenant = head_of(queue)
    if first_at[queue] ~= priority then return nil end
    local own = share(queue, tenant)
    local right = place(priority, own.held, own.served, tenant, own.debt)
    if right > tonumber(head[2]) then
      redis.call('ZADD', RING .. queue, whole(right), head[1])
    else
      local first, second = ordinary, bulk  -- in turn, in a take and from take to take
      own.bulk = not own.bulk
      if own.bulk then first, second = bulk, ordinary end
      if tenant ~= '' then first, second = first .. MARK .. tenant, second .. MARK .. tenant end
      local list, message = first, redis.call('RPOP', first)
      if not message then list, message = second, redis.call('RPOP', second) end
      if not message then
        redis.call('ZREM', RING .. queue, head[1])
      else
        own.held, own.served, own.new = own.held + 1, next_served(), true
        if redis.call('EXISTS', first, second) == 0 then
          redis.call('ZREM', RING .. queue, head[1])
        else
          right = place(priority, own.held, own.served, tenant, own.debt)
          redis.call('ZADD', RING .. queue, whole(right), head[1])
        end
        if tenant ~= '' then gone[queue] = (gone[queue] or 0) + 1 end
        return list, message, tenant
      end
    end
  end
end

local function begin_fair(queue, lists)
  for priority = 0, 9 do
    if redis.call('EXISTS', unpack(lists[priority])) > 0 then
      local least = whole(priority * PRIORITY)
      redis.call('ZADD', RING .. queue, 'NX', least, priority .. ':')
    end
  end
end

local function end_fair(queue, who, now)
  local nobody, written = {}, {}
  for priority = 0, 9 do nobody[priority + 1] = priority .. ':' end
  redis.call('ZREM', RING .. queue, unpack(nobody))
  if gone[queue] then redis.call('LTRIM', queue .. COUNTED, gone[queue], -1) end
  for of, own in pairs(known) do
    if own.new then
      own.new = false
      local n = #written
      written[n + 1], written[n + 2] = 'n' .. of, own.held
      written[n + 3], written[n + 4] = 's' .. of, own.served
    end
  end
  if #written > 0 then
    redis.call('HSET', HELD, 'served', served, unpack(written))
    redis.call('ZADD', HOLDERS, now, who)
  end
end
"""
)

#: Acknowledges messages that count for tenants. KEYS: unacked, index. ARGV: tags.
ACKNOWLEDGE = """
local counted = {}
for _, tag in ipairs(ARGV) do
  if redis.call('HDEL', KEYS[1], tag) == 1 then counted[#counted + 1] = tag end
end
redis.call('ZREM', KEYS[2], unpack(ARGV))
lower_all(counted)
"""

#: Says that a consumer holds its messages, and counts anew what is in flight and who is in debt, if
#: nobody has done so just now for one of its queues. Returns 0 once tenants have nothing in any of
#: these queues, nor in flight. KEYS: index of unacked. ARGV: consumer, lease in seconds, ms between
#: two counts; of each queue and tenant the seconds for which it used slots here, since it was said
#: before; tags of messages that are held for later (``countdown``) and use nothing until then, with
#: that time; queues.
TEND = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
redis.call('ZADD', HOLDERS, string.format('%.6f', now), ARGV[1])
for _, told in ipairs(cjson.decode(ARGV[4])) do
  local of, used = unpack(told)
  local debt = math.min(used / weight(string.match(of, '[^\\n]*$')), DEBT * LOAD_MOST)
  redis.call('HINCRBYFLOAT', HELD, 'd' .. of, string.format('%.3f', debt))
end
for _, told in ipairs(cjson.decode(ARGV[5])) do
  redis.call('ZADD', LATER, string.format('%.6f', told[2]), told[1])
end
local function is_first(counted) return redis.call('SET', counted, 1, 'NX', 'PX', ARGV[3]) end
local due, first = {}, is_first(HELD .. ':counted')
local any = first
for n = 6, #ARGV do  -- where some wait each queue by itself: few of many workers may have it
  local counts = first or redis.call('EXISTS', RING .. ARGV[n]) == 1
  due[ARGV[n]] = counts and is_first(HELD .. ':counted:' .. ARGV[n]) or first
  any = any or due[ARGV[n]]
end
if not any then return 1 end
redis.call('ZREMRANGEBYSCORE', LATER, '-inf', string.format('%.6f', now))
local later = {}
for _, tag in ipairs(redis.call('ZRANGE', LATER, 0, -1)) do later[tag] = true end
redis.call('ZREMRANGEBYSCORE', HOLDERS, '-inf', string.format('%.6f', now - ARGV[2]))
local alive, counts = {}, {}
for _, who in ipairs(redis.call('ZRANGE', HOLDERS, 0, -1)) do alive[who] = true end
for _, tag in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local who, queue, tenant = owner(tag)
  if who and alive[who] and not later[tag] then
    local of = queue .. '\\n' .. tenant
    counts[of] = (counts[of] or 0) + 1
  end
end

-- What was known of a queue's tenants: those whose counts are to be put right, or forgotten.
local served, debts, seen = {}, {}, {}
local told = redis.call('HGETALL', HELD)
for n = 1, #told, 2 do
  local kind, of = string.sub(told[n], 1, 1), string.sub(told[n], 2)
  local queue, tenant = string.match(of, '^(.*)\\n([^\\n]*)$')
  if queue and kind == 'd' then
    debts[queue] = debts[queue] or {}
    debts[queue][tenant] = tonumber(told[n + 1])
  elseif queue then
    seen[of] = true
    if kind == 's' then served[of] = tonumber(told[n + 1]) end
    if kind == 'n' and not counts[of] then redis.call('HDEL', HELD, told[n]) end
  end
end
local busy = next(later) and 1 or 0
for of, n in pairs(counts) do
  redis.call('HSET', HELD, 'n' .. of, n)
  busy = 1
end

local function queue_of(of) return string.match(of, '^(.*)\\n[^\\n]*$') end

-- Of those that wait for the next slot the one with the least debt has none; without any nobody
-- has. Who waits behind more urgent messages does not: by its debt, which stays as it is, those of
-- all others would grow, and whoever comes new would have all slots until theirs were given back.
local function forgive(queue, waiting)
  local owed, first, least = debts[queue] or {}, 9, math.huge
  for _, priorities in pairs(waiting) do first = math.min(first, unpack(priorities)) end
  for tenant, priorities in pairs(waiting) do
    if math.min(unpack(priorities)) == first then least = math.min(least, owed[tenant] or 0) end
  end
  for tenant, debt in pairs(owed) do
    local field = 'd' .. queue .. '\\n' .. tenant
    debt = math.max(debt - least, 0) * KEPT
    if debt < 0.01 then
      owed[tenant] = nil
      redis.call('HDEL', HELD, field)
    else
      owed[tenant] = debt
      redis.call('HSET', HELD, field, string.format('%.3f', debt))
    end
  end
  return owed
end

local function put_right(queue)
  local ring, queued, waiting = RING .. queue, 0, {}
  local function look(priority, tenant)
    local ordinary, bulk = lists_of(queue, priority, tenant)
    local n = redis.call('LLEN', ordinary) + redis.call('LLEN', bulk)
    if n > 0 then
      waiting[tenant] = waiting[tenant] or {}
      table.insert(waiting[tenant], priority)
    end
    return n
  end
  local known = {}
  for _, member in ipairs(redis.call('ZRANGE', ring, 0, -1)) do
    local priority, tenant = string.match(member, '^(%d+):(.*)$')
    known[tenant] = true
    local n = look(tonumber(priority), tenant)
    queued = queued + n
    if n == 0 then redis.call('ZREM', ring, member) end
  end
  for of in pairs(seen) do  -- an older worker may have given something back
    local tenant = queue_of(of) == queue and string.sub(of, #queue + 2)
    if tenant and tenant ~= '' and not known[tenant] then
      for priority = 0, 9 do queued = queued + look(priority, tenant) end
    end
    if tenant and not known[tenant] and not waiting[tenant] and not counts[of] then
      redis.call('HDEL', HELD, 's' .. of)
    end
  end
  for priority = 0, 9 do look(priority, '') end  -- nobody in particular stands in no ring
  local owed = forgive(queue, waiting)
  waiting[''] = nil
  for tenant, priorities in pairs(waiting) do
    local of = queue .. '\\n' .. tenant
    local held, last, debt = counts[of] or 0, served[of] or 0, owed[tenant] or 0
    for _, priority in ipairs(priorities) do
      local right = whole(place(priority, held, last, tenant, debt))
      redis.call('ZADD', ring, right, priority .. ':' .. tenant)
    end
  end
  local counted = redis.call('LLEN', queue .. COUNTED)
  if counted > queued then redis.call('LTRIM', queue .. COUNTED, counted - queued, -1) end
  for _ = counted + 1, queued do redis.call('LPUSH', queue .. COUNTED, 1) end
  return queued > 0
end
for n = 6, #ARGV do
  if not due[ARGV[n]] or put_right(ARGV[n]) then busy = 1 end
end
if busy == 0 then redis.call('DEL', HELD, HOLDERS, LATER) end
return busy
"""

#: Looks at the tenants of queues. ARGV: how many tenants of one at the most, queues. Returns for
#: each tenant that has something queued or in flight: queue, name, queued, in flight, the id of the
#: first message of its most urgent list.
LOOK = """
local found, held = {}, redis.call('HGETALL', HELD)
local function add(queue, tenant, urgent)
  local queued, first, of = 0, '', queue .. '\\n' .. tenant
  for priority = urgent or 10, 9 do
    for _, list in ipairs({lists_of(queue, priority, tenant)}) do
      local n = redis.call('LLEN', list)
      local message = n > 0 and first == '' and redis.call('LINDEX', list, -1)
      if message then first = string.match(message, '"id"%s*:%s*"([^"]*)"') or '' end
      queued = queued + n
    end
  end
  local n = tonumber(redis.call('HGET', HELD, 'n' .. of) or 0)
  if queued + n > 0 then found[#found + 1] = {queue, tenant, queued, n, first} end
end
for n = 2, #ARGV do
  local queue, urgent, some = ARGV[n], {}, false
  for _, member in ipairs(redis.call('ZRANGE', RING .. queue, 0, ARGV[1] - 1)) do
    local priority, tenant = string.match(member, '^(%d+):(.*)$')
    urgent[tenant] = math.min(urgent[tenant] or 9, tonumber(priority))
  end
  for place = 1, #held, 2 do
    local tenant = string.match(held[place], '^n.*\\n([^\\n]*)$')
    if tenant and held[place] == 'n' .. queue .. '\\n' .. tenant then
      urgent[tenant] = urgent[tenant] or 10
    end
  end
  for tenant, priority in pairs(urgent) do
    if tenant ~= '' then
      some = true
      add(queue, tenant, priority)
    end
  end
  if some then add(queue, '', 0) end
end
return found
"""
