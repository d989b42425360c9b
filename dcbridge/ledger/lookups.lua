-- ---------------------------------------------------------------- status lookups: asking a provider about a message
--
-- One whose outcome is unknown, or one that was sent and never heard of again. The sweep finds it due, the script queues
-- the job `ask`, and whoever runs that claims the lookup. What an entry holds of it is in fields.py, from `unknown_since` on; `times_absent` and `lookups` stay as long as the entry lives.
-- Every answer is fenced by the token: whatever settles the message first takes the lookup away with its fields.

local PROBING = 5000 -- ms until another lookup may try an open breaker

-- Lookups are as many a second, and as many at one time, as messages of the provider may be; counted by themselves,
-- since a message in the queue has its place already.
local function lookup_waits(ref, channel, lease)
  local limits = routes.of(ref, channel)
  if not limits then return nil end
  local member, own, breaker = 'm:' .. ref, limits[1], 'dcb:breaker:' .. limits.provider
  local probe = tonumber(redis.call('HGET', breaker, 'probe'))
  if probe and (now < probe or redis.call('ZCARD', 'dcb:parked:' .. limits.provider) > 0) then
    redis.call('ZADD', 'dcb:due', math.max(now, probe) + 1000, member)
    return 'parked'
  end
  local stopped = controls.of('p/' .. limits.provider)
  local paused = stopped and math.min(stopped.till or now + LOOK_LATE, now + LOOK_LATE) or paused_till(limits.provider)
  if paused > now then
    redis.call('ZADD', 'dcb:due', paused + math.random(0, 250), member)
    return 'paused'
  end
  local key = 'q-' .. limits.provider
  local slot = slot_of(member, {{key = key, rate = own.rate, burst = own.burst}})
  if slot > now then
    redis.call('HSET', 'dcb:m:' .. ref, F.slot, slot)
    redis.call('ZADD', 'dcb:due', slot, member)
    return 'paced'
  end
  if own.cap > 0 then
    local flight = 'dcb:flight:' .. key
    redis.call('ZREMRANGEBYSCORE', flight, '-inf', now)
    if redis.call('ZCARD', flight) >= own.cap then
      if slot > 0 then redis.call('HSET', 'dcb:m:' .. ref, F.slot, slot) end
      redis.call('ZADD', 'dcb:due', now + 1000, member)
      return 'held'
    end
    redis.call('ZADD', flight, now + lease, ref)
  end
  redis.call('HDEL', 'dcb:m:' .. ref, F.slot)
  if probe then -- no message waits that could try whether the provider is back: the lookup does
    redis.call('HSET', breaker, 'probe', now + PROBING, 'ref', ref)
    redis.call('HSET', 'dcb:m:' .. ref, F.lookup_is_probe, 1)
  end
  return nil
end

-- The state of a message whose lookup is ours; nil when it is not, or not any more.
local function lookup_of(ref, token)
  local f = redis.call('HMGET', 'dcb:m:' .. ref, F.state, F.lookup_token, F.channel_id)
  if f[2] ~= token or not (f[1] == S.unknown or f[1] == S.sent) then return nil end
  return f[1], f[3]
end

-- @verb lookup ref limit_ms -> asking|waiting|stale|over
-- "waiting" where its job is still queued; "over" where it has been waited for too long already: since the outcome became
-- unknown, else since it was sent.
function verbs.lookup()
  local ref, key, member = a.ref, 'dcb:m:' .. a.ref, 'm:' .. a.ref
  local f = redis.call('HMGET', key, F.state, F.lookup_queued_at, F.unknown_at, F.sent_at)
  if not (f[1] == S.unknown or f[1] == S.sent) or not is_due(member) then return 'stale' end
  local since = tonumber((f[1] == S.unknown and f[3] or f[4]) or now)
  if now - since > tonumber(a.limit_ms) then return 'over' end
  if f[2] and not job_is_lost('ask', tonumber(f[2])) then
    redis.call('ZADD', 'dcb:due', now + math.max(REQUEUE, now - tonumber(f[2])), member)
    return 'waiting'
  end
  redis.call('HSET', key, F.lookup_queued_at, now)
  redis.call('ZADD', 'dcb:due', now + REQUEUE, member)
  queue_job('ask', 'ask-' .. ref .. '-' .. redis.call('HINCRBY', key, F.lookups, 1), ref)
  return 'asking'
end

-- @verb lookup_claim ref token lease_ms -> {go, fields… and now}|{why not}
-- The same token asking again gets "go" again. A job that runs twice, or was thought lost, finds that its lookup has been
-- claimed.
function verbs.lookup_claim()
  local ref, token, lease = a.ref, a.token, tonumber(a.lease_ms)
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.state, F.lookup_token, F.lookup_lease_ends, F.channel_id, F.lookup_queued_at)
  if not (f[1] == S.unknown or f[1] == S.sent) then return {f[1] or 'gone'} end
  if f[2] ~= token then
    if f[2] and tonumber(f[3]) > now then return {'busy'} end
    if not f[5] then return {'not asked'} end
    redis.call('HDEL', key, F.lookup_queued_at)
    local why = lookup_waits(ref, f[4], lease)
    if why then return {why} end
    redis.call('HSET', key, F.lookup_token, token, F.lookup_lease_ends, now + lease)
    redis.call('ZADD', 'dcb:due', now + lease, 'm:' .. ref)
  end
  local all, first = redis.call('HGETALL', key), redis.call('HGET', key, F.payload_ref)
  all[#all + 1], all[#all + 2] = F.now, tostring(now)
  if first then
    all[#all + 1] = F.payload
    all[#all + 1] = redis.call('GET', 'dcb:p:' .. first)
  end
  return {'go', all}
end

-- @verb lookup_answered ref token part answer provider detail -> ok|stale
-- A line of the history.
function verbs.lookup_answered()
  if not lookup_of(a.ref, a.token) then return 'stale' end
  note('dcb:m:' .. a.ref, 'asked', a.part, a.answer, a.provider, a.detail)
  return 'ok'
end

-- @verb lookup_again ref token delay_ms failures -> again|stale
function verbs.lookup_again()
  local state, channel = lookup_of(a.ref, a.token)
  if not state then return 'stale' end
  lookup_ends(a.ref, channel)
  if a.failures ~= '0' then redis.call('HSET', 'dcb:m:' .. a.ref, F.lookup_failures, a.failures) end
  redis.call('ZADD', 'dcb:due', now + tonumber(a.delay_ms), 'm:' .. a.ref)
  return 'again'
end

-- @verb lookup_found ref token part count provider status reason detail delivered confirm_ms keep_ms id… -> State|taken|stale
-- "taken" where one of the ids has become another message's meanwhile.
function verbs.lookup_found()
  local ref, part, provider, status = a.ref, tonumber(a.part), a.provider, a.status
  local state, channel = lookup_of(ref, a.token)
  if state ~= S.unknown then return 'stale' end
  local keep_ms = tonumber(a.keep_ms)
  for i = each.from, #ARGV do
    local whose = redis.call('GET', 'dcb:id:' .. provider .. ':' .. each.id)
    if whose and whose ~= ref .. ' ' .. part then return 'taken' end
  end
  for i = each.from, #ARGV do keep_id(ref, part, channel, provider, each.id) end
  lookup_ends(ref, channel)
  redis.call('HINCRBY', 'dcb:counts', 'unknown_found', 1)
  redis.call('HSET', 'dcb:m:' .. ref, F.part_status .. part, status)
  if status == U.failed or status == U.removed then
    redis.call('HSET', 'dcb:m:' .. ref, F.provider_id .. part, ARGV[each.from])
    if status == U.removed then return finish(ref, S.removed, '', '', 'Removed', keep_ms) end
    return finish(ref, S.failed, a.reason, a.detail, 'Failed', keep_ms)
  end
  return part_taken(ref, part, tonumber(a.count), ARGV[each.from], a.delivered, tonumber(a.confirm_ms), keep_ms)
end

-- @verb lookup_not_there ref token lane_limit_ms keep_ms attempts -> retry|failed|stale
-- "failed" where it has held up its conversation for too long or was tried often enough. The provider has no such message:
-- sending it again doubles nothing, whatever the channel's policy.
function verbs.lookup_not_there()
  local ref, key = a.ref, 'dcb:m:' .. a.ref
  local state, channel = lookup_of(ref, a.token)
  if state ~= S.unknown then return 'stale' end
  lookup_ends(ref, channel)
  redis.call('HINCRBY', 'dcb:counts', 'unknown_not_there', 1)
  redis.call('HINCRBY', key, F.times_absent, 1)
  redis.call('HDEL', key, F.unknown_since, F.unknown_requests, F.unknown_at)
  local f = redis.call('HMGET', key, F.began_at, F.last_code, F.attempts)
  if now - tonumber(f[1]) > tonumber(a.lane_limit_ms) or is_tried_enough(f[3], a.attempts) then
    return finish(ref, S.failed, '500', f[2] or '', 'Failed', tonumber(a.keep_ms))
  end
  redis.call('HSET', key, F.state, S.retry, F.not_before, now)
  ready('m:' .. ref)
  return S.retry
end
