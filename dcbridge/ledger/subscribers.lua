-- ---------------------------------------------------------------- subscribers: whose turn it is, and who is disabled
--
--   dcb:subscribers        names that were ever seen
--   dcb:s:<name>           one subscriber: what was accepted, delivered, dead and dropped; keep (ms); ok and bad (since
--                          when it answers, and since when it does not); off and why, while it is disabled;
--                          gently, from its "later" on until it takes one
--   dcb:turn:<name>        delivery -> its place in the queue, while it waits for a place in flight
--   dcb:backlog:<name>     delivery -> ms its event was received, until the delivery ended
--
-- A delivery is the task "<event>-<subscriber>". It has an RQ job only once a place in flight is its own, so what a
-- subscriber that hangs holds up is its own queue, and neither a worker nor RQ's.

local SUBSCRIBER = 'subscribers/' -- and its name: what it is called where a message has its channel and its provider
local EVENT_ID = 28 -- characters: "evt_" (of a webhook) or "own_" (of ours), and 24 hex digits
local RETRIES_WAIT = 60000 -- ms of first attempts that go before a retry whose time has come
local RESERVED = 4 * REQUEUE -- ms that a place in flight is kept for a delivery whose job is queued

local function is_delivery(member)
  local kind = string.sub(member, 1, 6)
  return kind == 't:evt_' or kind == 't:own_'
end

local function event_of(id)
  return string.sub(id, 1, EVENT_ID)
end

local function subscriber_of(id)
  return string.sub(id, EVENT_ID + 2)
end

-- An event of our own: it is written in the step that causes it, and read like a webhook.
local function emit(name, ...)
  redis.call('XADD', 'dcb:interactions', '*', 'own', name, ...)
  redis.call('HINCRBY', 'dcb:counts', 'own_' .. string.gsub(name, '%.', '_'), 1)
end

aside.emit = emit -- for common.lua, which stands before

local function is_off(name)
  return redis.call('HEXISTS', 'dcb:s:' .. name, 'off') == 1
end

local function next_slot(limit)
  local arrival = math.max(tonumber(redis.call('GET', 'dcb:tat:' .. limit.key)) or 0, now)
  return arrival - (limit.burst - 1) * 1000 / limit.rate
end

local function reserve_slot(id, limits)
  local member, limit = 't:' .. id, limits[1]
  redis.call('ZADD', 'dcb:flight:' .. limit.key, now + RESERVED, id)
  if limit.rate > 0 then
    local slot = slot_of(member, limits)
    redis.call('HSET', 'dcb:' .. member, F.slot, math.max(slot, 1))
    if slot > now then return look_again(member, slot) end
  end
  wake(member)
end

-- Those whose turn it is get their jobs: as many as there are places in flight, and none while nobody may speak. After a
-- "later" one goes ahead: all of them at once would get "later" again, and cost the others the time for it.
local function dispatch_deliveries(name)
  local turn, account = 'dcb:turn:' .. name, SUBSCRIBER .. name
  if redis.call('EXISTS', turn) == 0 then return end
  local limits = limits_of(account)
  if not limits or is_off(name) or redis.call('EXISTS', 'dcb:breaker:' .. account) == 1 then return end
  if controls.silent(account) then return end
  local limit = limits[1]
  local flight = 'dcb:flight:' .. limit.key
  local cap = redis.call('HEXISTS', 'dcb:s:' .. name, 'gently') == 1 and 1 or limit.cap
  redis.call('ZREMRANGEBYSCORE', flight, '-inf', now)
  for _ = redis.call('ZCARD', flight) + 1, cap do
    if limit.rate > 0 and next_slot(limit) > now + 1000 then return end
    local id = redis.call('ZPOPMIN', turn)[1]
    if not id then return end
    if not aside.try('t:' .. id, reserve_slot, id, limits) then redis.call('ZREM', flight, id) end
  end
end

-- Into the queue: a first attempt by the time it was received; a retry behind the first attempts of the next minute.
ready = function(member)
  if not is_delivery(member) then return wake(member) end
  local id = string.sub(member, 3)
  local name, f = subscriber_of(id), redis.call('HMGET', 'dcb:' .. member, F.accepted_at, F.attempts, F.replayed, F.slot)
  if f[4] then return wake(member) end -- it has its place already
  local later = (f[2] ~= '0' or f[3]) and now + RETRIES_WAIT
  redis.call('ZADD', 'dcb:turn:' .. name, later or f[1], id)
  redis.call('ZREM', 'dcb:due', member)
  dispatch_deliveries(name)
end

local function turn_again(id, place)
  local member, name = 't:' .. id, subscriber_of(id)
  redis.call('HDEL', 'dcb:' .. member, F.queued_at)
  redis.call('ZREM', 'dcb:due', member)
  redis.call('ZREM', 'dcb:flight:p-' .. SUBSCRIBER .. name, id)
  redis.call('ZADD', 'dcb:turn:' .. name, place, id)
end

-- The probe of an open breaker: whoever is first in the queue, if anybody may speak to the subscriber at all.
probe_of_turn = function(account)
  local name = string.sub(account, #SUBSCRIBER + 1)
  local limits = limits_of(account)
  if not limits or is_off(name) or controls.of('p/' .. account) then return end
  local id = redis.call('ZPOPMIN', 'dcb:turn:' .. name)[1]
  if not id then return end
  redis.call('HSET', 'dcb:breaker:' .. account, 'probe', now + REQUEUE, 'ref', id)
  redis.call('ZADD', 'dcb:flight:' .. limits[1].key, now + RESERVED, id)
  aside.try('t:' .. id, wake, 't:' .. id)
end

-- ---------------------------------------------------------------- what a delivery's end means for its subscriber

local function disable(name, why)
  if redis.call('HSETNX', 'dcb:s:' .. name, 'off', now) == 0 then return end
  redis.call('HSET', 'dcb:s:' .. name, 'why', why)
  emit('subscriber.disabled', 'subscriber', name, 'why', why)
end

local function subscriber_answered(name, id)
  redis.call('HDEL', 'dcb:s:' .. name, 'bad', 'gently')
  if breaker_heals(SUBSCRIBER .. name, id) then emit('subscriber.recovered', 'subscriber', name) end
end

-- delivery_leaves: the record of a delivery that ended is one line beside its event.
local function delivery_leaves(id, how)
  local key, name = 'dcb:t:' .. id, subscriber_of(id)
  local f = redis.call('HMGET', key, F.lane, F.attempts)
  redis.call('DEL', key)
  redis.call('ZREM', 'dcb:due', 't:' .. id)
  redis.call('ZREM', 'dcb:backlog:' .. name, id)
  redis.call('HSET', 'dcb:ed:' .. event_of(id), name, how .. ' ' .. now .. ' ' .. (f[2] or '0'))
  redis.call('HINCRBY', 'dcb:s:' .. name, how, 1)
  redis.call('ZREM', 'dcb:flight:p-' .. SUBSCRIBER .. name, id)
  lane_leave(f[1] or '', 't:' .. id)
  dispatch_deliveries(name)
end

-- nil when a delivery may go now; else why not.
local function subscriber_waits(id, name, lease)
  local account = SUBSCRIBER .. name
  local limits = limits_of(account)
  if not limits then return 'no limits' end
  local breaker = redis.call('HMGET', 'dcb:breaker:' .. account, 'probe', 'ref')
  if breaker[1] and breaker[2] ~= id and now < (tonumber(breaker[1]) or 0) then return 'parked' end
  if controls.silent(account) then return 'paused' end
  local limit, key = limits[1], 'dcb:t:' .. id
  local slot = slot_of('t:' .. id, limits)
  if slot > now then
    redis.call('HSET', key, F.slot, slot)
    look_again('t:' .. id, slot)
    return 'paced'
  end
  if limit.cap > 0 then
    local flight = 'dcb:flight:' .. limit.key
    redis.call('ZREMRANGEBYSCORE', flight, '-inf', now)
    if redis.call('ZCARD', flight) >= limit.cap and not redis.call('ZSCORE', flight, id) then return 'held' end
    redis.call('ZADD', flight, now + lease, id)
  end
  redis.call('HDEL', key, F.slot)
  if breaker[1] then redis.call('HSET', 'dcb:breaker:' .. account, 'probe', now + lease, 'ref', id) end
  return nil
end

-- nil when it may go now; else why not, and it waits for its turn.
local function delivery_waits(id, received_at, lease)
  local name = subscriber_of(id)
  if redis.call('EXISTS', 'dcb:e:' .. event_of(id)) == 0 then
    delivery_leaves(id, 'dropped')
    redis.call('DEL', 'dcb:ed:' .. event_of(id))
    return 'gone'
  end
  local why = is_off(name) and 'off' or subscriber_waits(id, name, lease)
  if why == 'paced' then return why end
  if why then
    turn_again(id, received_at)
    return why
  end
  return nil
end

-- A place in flight is free.
local function release_delivery_slot(id)
  local name = subscriber_of(id)
  redis.call('ZREM', 'dcb:flight:p-' .. SUBSCRIBER .. name, id)
  dispatch_deliveries(name)
end

-- @verb subscribers (name keep_ms)… -> count
-- What the configuration says; 0 drops what waits.
function verbs.subscribers()
  for i = each.from, #ARGV, each.size do
    redis.call('SADD', 'dcb:subscribers', each.name)
    redis.call('HSET', 'dcb:s:' .. each.name, 'keep', each.keep_ms)
  end
  return (#ARGV + 1 - each.from) / each.size
end

-- @verb subscriber_off name why -> 1|0
-- 0 where it was off already.
function verbs.subscriber_off()
  if is_off(a.name) then return 0 end
  disable(a.name, a.why)
  return 1
end

-- @verb subscriber_on name -> 1|0
-- 0 where it was not off. Its backlog begins with one attempt, which closes the breaker.
function verbs.subscriber_on()
  local key, account = 'dcb:s:' .. a.name, SUBSCRIBER .. a.name
  redis.call('HDEL', key, 'bad', 'gently')
  redis.call('DEL', 'dcb:pause:' .. account, 'dcb:paused:' .. account)
  if redis.call('EXISTS', 'dcb:breaker:' .. account) == 1 then
    redis.call('HSET', 'dcb:breaker:' .. account, 'probe', now)
    redis.call('HDEL', 'dcb:breaker:' .. account, 'ref')
  end
  local was = redis.call('HDEL', key, 'off', 'why')
  if was > 0 then emit('subscriber.enabled', 'subscriber', a.name) end
  dispatch_deliveries(a.name)
  return was > 0 and 1 or 0
end

-- For the sweep: places that came free with time are given away; what waited too long is dropped.
-- -> ms that the oldest delivery of all was received
local function drop_overdue(name, id)
  if redis.call('HGET', 'dcb:t:' .. id, F.state) == T.running then return end
  redis.call('ZREM', 'dcb:turn:' .. name, id)
  delivery_leaves(id, 'dropped')
end

-- -> ms that the oldest delivery of one subscriber was received
local function look_at_subscriber(name)
  dispatch_deliveries(name)
  local backlog = 'dcb:backlog:' .. name
  local keep = tonumber(redis.call('HGET', 'dcb:s:' .. name, 'keep')) or 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', backlog, '-inf', now - keep, 'LIMIT', 0, 100)) do
    aside.try('t:' .. id, drop_overdue, name, id)
  end
  local first = redis.call('ZRANGE', backlog, 0, 0, 'WITHSCORES')
  return first[1] and tonumber(first[2]) or now
end

local function look_at_subscribers()
  local oldest = now
  for _, name in ipairs(redis.call('SMEMBERS', 'dcb:subscribers')) do
    local typed, first = aside.unless_typed(look_at_subscriber, name)
    if typed then oldest = math.min(oldest, first) end
  end
  return oldest
end
