-- ---------------------------------------------------------------- parked: who waits behind an open breaker
--
-- The sweep chooses the message that probes, and lets the others go once the breaker is closed.

local CANDIDATES = 20 -- parked messages that are looked at to find a probe

-- Whether a parked message could be the probe. One that went by another way, or whose channel has got another provider or
-- is not configured, is not parked any more.
local function could_probe(provider, ref)
  local parked, member = 'dcb:parked:' .. provider, 'm:' .. ref
  local f = redis.call('HMGET', 'dcb:' .. member, F.state, F.channel_id)
  local limits = f[2] and routes.of(ref, f[2])
  if not (f[1] == S.accepted or f[1] == S.retry) then
    redis.call('ZREM', parked, ref)
    aside.unless_sound(member)
  elseif not limits or limits.provider ~= provider then
    redis.call('ZREM', parked, ref)
    redis.call('HDEL', 'dcb:' .. member, F.line)
    ready(member)
  elseif controls.any and controls.stops(ref, known_of(ref)) then -- it waits for that now
    redis.call('ZREM', parked, ref)
    line_up_again(ref)
  else
    return true
  end
  return false
end

-- The oldest message whose conversation is not known to fail; else the oldest that was not the last probe.
local function choose_probe(provider)
  local parked, last = 'dcb:parked:' .. provider, redis.call('HGET', 'dcb:breaker:' .. provider, 'last')
  local another, oldest
  for _, ref in ipairs(redis.call('ZRANGE', parked, 0, CANDIDATES - 1)) do
    local sound, could = aside.try('m:' .. ref, could_probe, provider, ref)
    if not sound then
      redis.call('ZREM', parked, ref)
    elseif could then
      if not redis.call('ZSCORE', 'dcb:failing:' .. provider, conversation_of(ref)) then return ref end
      oldest = oldest or ref
      if ref ~= last then another = another or ref end
    end
  end
  return another or oldest
end

-- Those who are parked, once the breaker is closed. -> how many went on
local function unpark(provider)
  local parked = 'dcb:parked:' .. provider
  local refs = redis.call('ZRANGE', parked, 0, math.max(10, FULL - redis.call('LLEN', 'rq:queue:outbound')) - 1)
  for _, ref in ipairs(refs) do
    redis.call('ZREM', parked, ref)
    aside.try('m:' .. ref, line_up_again, ref)
  end
  if redis.call('ZCARD', parked) == 0 then redis.call('SREM', 'dcb:breakers', provider) end
  return #refs
end

local function wake_probe(ref)
  local known = known_of(ref)
  check(known)
  wake('m:' .. ref, look_at_latest(known))
end

-- An open breaker whose time has come probes with one message; a closed one lets its parked go. -> how many went
local function look_at_breaker(provider)
  local key = 'dcb:breaker:' .. provider
  local probe = redis.call('HGET', key, 'probe')
  if not probe and redis.call('EXISTS', key) == 0 then return unpark(provider) end
  if (tonumber(probe) or 0) > now or controls.of('p/' .. provider) then return 0 end
  if string.find(provider, '/', 1, true) then
    probe_of_turn(provider)
    return 0
  end
  local ref = choose_probe(provider)
  if ref and aside.try('m:' .. ref, wake_probe, ref) then
    redis.call('HSET', key, 'probe', now + 2000, 'ref', ref) -- one job for the probe, not one a sweep
  end
  return 0
end

-- One with a key of another type must not keep the others waiting.
local function look_at_breakers()
  local went = 0
  for _, provider in ipairs(redis.call('SMEMBERS', 'dcb:breakers')) do
    local typed, some = aside.unless_typed(look_at_breaker, provider)
    went = went + (typed and some or 0)
  end
  return went
end

-- For the sweep: a message that is due and waits. 1 where its time was over.
local function look_at_waiting(ref, lane, queued_at)
  local member, known = 'm:' .. ref, known_of(ref)
  if is_over(known, ref) then
    expire(ref)
    return 1
  end
  local latest, q = look_at_latest(known), redis.call('HGET', 'dcb:m:' .. ref, F.line)
  if not lane_is_head(lane, member) then
    redis.call('ZADD', 'dcb:due', latest, member)
  elseif q and string.sub(q, 1, 2) == 'b-' then
    park(string.sub(q, 3), ref, known)
  elseif q and (string.sub(q, 1, 2) == 'u-' or string.sub(q, 1, 2) == 'n-' or string.sub(q, 1, 2) == 'k-'
    or string.sub(q, 1, 2) == 'w-') then
    redis.call('ZADD', 'dcb:due', latest, member)
    redis.call('ZADD', 'dcb:line:' .. q, 'NX', known[2], ref)
    if string.sub(q, 1, 2) ~= 'u-' then redis.call('ZADD', 'dcb:lines', 'NX', now, q) end
  elseif not queued_at then
    line_up(ref, known)
  elseif job_is_lost('send', tonumber(queued_at)) then
    wake(member, latest)
  else -- still in the queue: look again when it has waited twice as long
    redis.call('ZADD', 'dcb:due', math.min(latest, now + math.max(REQUEUE, now - tonumber(queued_at))), member)
  end
  return 0
end

-- For one that is set aside. Its entry stays as it is, also where it says where it waited.
function aside.stop_waiting(ref, channel)
  local q = aside.field('m:' .. ref, F.line)
  give_places_back(ref, channel)
  if string.sub(q, 1, 2) == 'b-' then redis.call('ZREM', 'dcb:parked:' .. string.sub(q, 3), ref) end
  if q ~= '' then redis.call('ZREM', 'dcb:line:' .. q, ref) end
  local limits = routes.of(ref, channel)
  if limits then redis.call('ZREM', 'dcb:line:' .. limits[1].key, ref) end
end
