-- ---------------------------------------------------------------- agent messages: accepted, and claimed

-- Copies of one message stand together, the first one first; they end, and are forgotten, each in its own time.
local function any_copy_exists(from)
  local first, i = ARGV[from + 1], from
  while i <= #ARGV and ARGV[i + 1] == first do
    if redis.call('EXISTS', 'dcb:m:' .. ARGV[i]) == 1 then return true end
    i = i + 16
  end
  return false
end

-- @verb accept keep_ms dead_keep_ms index_ms text_ms (ref first channel message_id sender to lane payload trace ttl_ms reason detail raw copies consumer kept)… -> {new|again…}
-- Of several copies only the first brings the payload.
-- `first` is the ref of the message's first copy: where one of them exists, the whole message is a redelivery.
-- With a reason the message ends at once as Failed; with raw bytes they become a dead letter as well.
function verbs.accept()
  local keep_ms, dead_keep_ms, index_ms = tonumber(a.keep_ms), tonumber(a.dead_keep_ms), tonumber(a.index_ms)
  local fresh, answers = {}, {}
  for i = each.from, #ARGV, each.size do
    local ref, first, channel = each.ref, each.first, each.channel
    local key = 'dcb:m:' .. ref
    if fresh[first] == nil then fresh[first] = not any_copy_exists(i) end
    if not fresh[first] or redis.call('EXISTS', key) == 1 then
      redis.call('HINCRBY', 'dcb:books:' .. channel, 'again', 1)
      local began = tonumber(aside.field('m:' .. first, F.accepted_at)) or now
      if now - began > LATE then redis.call('HINCRBY', 'dcb:counts', 'redelivered_late', 1) end
      answers[#answers + 1] = 'again'
    else
      local lane, ttl = each.lane, tonumber(each.ttl_ms)
      redis.call('HSET', key, F.state, S.accepted, F.channel_id, channel, F.message_id, each.message_id, F.sender_id, each.sender,
        F.to_id, each.to, F.lane, lane, F.trace_id, each.trace, F.accepted_at, now, F.attempts, 0, F.part, 0,
        F.expires_at, now + ttl, F.payload_ref, first, unpack(each.consumer ~= '' and {F.consumer, each.consumer} or {}))
      index.accepted(ref, channel, each.consumer, index_ms)
      if each.kept ~= '' then redis.call('SET', 'dcb:kept:' .. ref, each.kept, 'PX', a.text_ms) end -- own.lua
      if ref == first then
        redis.call('SET', 'dcb:p:' .. first, each.payload)
        if each.copies ~= '1' then redis.call('SET', 'dcb:pn:' .. first, each.copies) end
      end
      redis.call('HINCRBY', 'dcb:books:' .. channel, 'accepted', 1)
      redis.call('ZADD', 'dcb:open:' .. channel, now, ref)
      redis.call('SADD', 'dcb:channels', channel)
      if each.raw ~= '' then
        dead_letter('m-' .. ref, K.agent_message, channel, each.detail, each.raw, dead_keep_ms)
      end
      if each.reason ~= '' then
        finish(ref, S.failed, each.reason, each.detail, 'Failed', keep_ms)
      else
        lane_push(lane, 'm:' .. ref, {channel, now, now + ttl, 0, '0'})
      end
      answers[#answers + 1] = 'new'
    end
  end
  return answers
end

-- ---------------------------------------------------------------- a claim

local function has_its_places(limits, ref, lease)
  for _, limit in ipairs(limits) do
    if limit.cap > 0 then
      local flight = 'dcb:flight:' .. limit.key
      redis.call('ZREMRANGEBYSCORE', flight, '-inf', now)
      if redis.call('ZCARD', flight) >= limit.cap and not redis.call('ZSCORE', flight, ref) then return false end
    end
  end
  for _, limit in ipairs(limits) do
    if limit.cap > 0 then redis.call('ZADD', 'dcb:flight:' .. limit.key, now + lease, ref) end
  end
  return true
end

-- nil when a claimed message may go; else why not, and it waits in a line. `q`: the line that it is in.
local function held_back(ref, known, q, lease)
  local stop = controls.stops(ref, known)
  if stop then
    stand_stopped(stop, ref, known, q)
    return 'paused'
  end
  local limits = limits_of(known[1])
  if limits and limits.via then
    local any
    limits, any = routes.take(ref, known, limits, true)
    if any then
      stand_in('r-' .. known[1], ref, known, now + LOOK_SOON)
      return 'parked'
    end
  elseif limits then
    known[7] = limits.provider
  end
  local slot = tonumber(known[6] or '0')
  local block = limits and blocked(limits.provider)
  if block and block.open then
    if not may_probe(limits.provider, ref) then
      park(limits.provider, ref, known)
      return 'parked'
    end
    redis.call('HSET', 'dcb:breaker:' .. limits.provider, 'probe', now + lease, 'ref', ref)
    redis.call('ZREM', 'dcb:parked:' .. limits.provider, ref)
    for _, limit in ipairs(limits) do
      full(limit, ref)
      book(limit, ref, lease)
    end
  elseif block then
    if q then redis.call('ZREM', 'dcb:parked:' .. limits.provider, ref) end
    stand_back(ref, known, limits, math.min(block.till, now + LOOK_SOON), block.stopped)
    return 'paused'
  elseif limits and slot > now then
    look_again('m:' .. ref, math.min(slot, look_at_latest(known)))
    return 'paced'
  elseif limits and slot > 0 then
    if not has_its_places(limits, ref, lease) then
      stand_back(ref, known, limits)
      return 'held'
    end
  elseif limits and (is_limited(limits[1]) or is_limited(limits[2])) then
    local why, look = pass(limits, ref, lease)
    if why then
      stand_back(ref, known, limits, look)
      return why
    end
  end
  if q or known[6] then stop_waiting(ref, known[1], q, nil) end
  return nil
end

local LARGE = 65536 -- bytes of a payload that is not handed out with each claim; as dcbridge.ledger.messages.LARGE

-- @verb claim ref token lease_ms keep_ms index_ms -> {go, fields…}|{why not}
-- The payload is among them, or its length alone. The same token asking again gets "go" again, and its whole lease: a reply
-- can be lost on the way.
function verbs.claim()
  local ref, token, lease, keep_ms = a.ref, a.token, tonumber(a.lease_ms), tonumber(a.keep_ms)
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.state, F.lane, F.expires_at, F.token, F.part, F.channel_id, F.accepted_at,
    F.attempts, F.slot, F.line, F.provider, F.unknown_requests, F.cancelled)
  if not f[1] then return {'gone'} end
  if f[1] == S.sending then
    if f[4] ~= token then return {'busy'} end
    if controls.any and controls.halts(ref, f[6], f[11], f[2]) then return {controls.give_back(ref, f[6], f[5], keep_ms)} end
    redis.call('HSET', key, F.lease_ends, now + lease)
    redis.call('ZADD', 'dcb:due', first_look(token, lease), 'm:' .. ref)
  elseif f[1] == S.accepted or f[1] == S.retry then
    if not lane_is_head(f[2], 'm:' .. ref) then return {'not its turn'} end
    if f[1] == S.retry and tonumber(redis.call('HGET', key, F.not_before) or '0') > now then return {'not yet'} end
    local known = {f[6], f[7], f[3], f[8], f[5], f[9], f[11], f[12], f[2], f[13]}
    if known[10] then return {controls.end_cancelled(ref)} end
    if now >= tonumber(f[3]) and is_over(known, ref) then
      finish(ref, S.failed, '305', redis.call('HGET', key, F.last_code) or '', 'Failed', keep_ms)
      return {'expired'}
    end
    if not is_announced(token) then
      look_again('m:' .. ref, now + 250)
      return {'not announced'}
    end
    local why = held_back(ref, known, f[10], lease)
    if why then return {why} end
    redis.call('HSET', key, F.state, S.sending, F.token, token, F.lease_ends, now + lease, F.provider, known[7] or '')
    redis.call('HINCRBY', key, F.attempts, 1)
    local attempt, limits = redis.call('HINCRBY', key, F.total_attempts, 1), limits_of(f[6])
    if limits and limits.via then routes.claimed(ref, f[6], known[7], attempt, f[2]) end
    if limits and limits.pool then routes.keep_sender(key, f[2]) end
    if known[7] and known[7] ~= f[11] then index.claimed(ref, known[7], f[7], tonumber(a.index_ms)) end
    if redis.call('HSETNX', key, F.began_at, now) == 0 then redis.call('HSET', key, F.attempt_began_at, now) end
    redis.call('ZADD', 'dcb:due', first_look(token, lease), 'm:' .. ref)
  else
    return {f[1]}
  end
  local all, first = redis.call('HGETALL', key), redis.call('HGET', key, F.payload_ref)
  if first then
    local size = redis.call('STRLEN', 'dcb:p:' .. first)
    all[#all + 1] = size > LARGE and F.payload_size or F.payload
    all[#all + 1] = size > LARGE and tostring(size) or redis.call('GET', 'dcb:p:' .. first)
  end
  return {'go', all}
end

-- @verb parts ref token count -> ok|stale
-- Written before the first of several parts, so that an update alone can settle one.
function verbs.parts()
  if redis.call('HGET', 'dcb:m:' .. a.ref, F.token) ~= a.token then return 'stale' end
  redis.call('HSET', 'dcb:m:' .. a.ref, F.parts, a.count)
  return 'ok'
end
