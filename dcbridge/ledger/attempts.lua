-- ---------------------------------------------------------------- attempts: how a request ended, and what is learnt of it later

-- What a part costs, counted once however often it is said. words: provider, currency, hundred-millionths of it and SMS; "" for
-- nothing. Of an entry that is gone nothing is counted: nobody could tell whether it was before.
function routes.charged(ref, part, words)
  local provider, currency, units = words:match('^(%S+) (%u%u%u) (%d+) %d+$')
  if not provider then return end
  local key, sum = 'dcb:m:' .. ref, provider .. ' ' .. currency
  local f = redis.call('HMGET', key, F.state, F.parts)
  if not f[1] or part >= tonumber(f[2] or '1') then return end
  if redis.call('HEXISTS', 'dcb:costs', sum) == 0 and redis.call('HLEN', 'dcb:costs') >= 500 then return end
  if redis.call('HSETNX', key, F.cost .. part, words) == 0 then return end
  redis.pcall('HINCRBY', 'dcb:costs', sum, units) -- a sum of more than 64 bits stays as it was
end

-- @verb submitted ref token part count provider_id delivered confirm_ms keep_ms provider cost sender -> State|next|stale
-- A worker that was given up for dead and answers after all still brings a fact: the provider has this part.
function verbs.submitted()
  local ref, token, part, count = a.ref, a.token, tonumber(a.part), tonumber(a.count)
  routes.charged(ref, part, a.cost)
  local f = redis.call('HMGET', 'dcb:m:' .. ref, F.state, F.token, F.part_status .. part, F.attempt_began_at,
    F.channel_id, F.part, F.lane, F.booked_by)
  if f[1] ~= S.sending or f[2] ~= token then
    if tonumber(f[6]) ~= part or not (f[1] == S.unknown or f[1] == S.retry or f[1] == S.sending) then return 'stale' end
    local status = a.delivered == '1' and U.delivered or U.sent
    local became = apply_update(ref, part, status, a.provider_id, '', '', tonumber(a.confirm_ms), tonumber(a.keep_ms),
      a.provider)
    note('dcb:m:' .. ref, 'update', part, status, became, 'late answer')
    return became
  end
  if a.sender ~= '' then routes.sent_from(ref, f[7], a.sender) end
  release_slot(ref, f[5])
  provider_took(ref, f[5], f[7])
  remember_id(ref, part, f[5], a.provider_id)
  if f[8] then routes.taken(ref, f[5], f[8], part + 1 == count and a.delivered ~= '1' and not f[3]) end
  if f[4] or count > 1 then note_attempt('dcb:m:' .. ref, 'taken', part) end
  return part_taken(ref, part, count, a.provider_id, a.delivered, tonumber(a.confirm_ms), tonumber(a.keep_ms))
end

local function try_again(ref, at, code)
  local key = 'dcb:m:' .. ref
  note_attempt(key, 'retry', at - now, code)
  redis.call('HSET', key, F.state, S.retry, F.last_code, code, F.not_before, at)
  redis.call('HDEL', key, F.token, F.lease_ends, F.queued_at)
  redis.call('ZADD', 'dcb:due', at, 'm:' .. ref)
end

-- @verb retry ref token delay_ms lane_limit_ms reason code keep_ms attempts switch -> State|stale
-- switch: what its provider may be left for (routes.lua), or ""; then it goes through another one at once.
function verbs.retry()
  local ref, token, delay, limit = a.ref, a.token, tonumber(a.delay_ms), tonumber(a.lane_limit_ms)
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.state, F.token, F.expires_at, F.began_at, F.part, F.channel_id, F.attempts,
    F.cancelled)
  if f[1] ~= S.sending or f[2] ~= token then return 'stale' end
  release_slot(ref, f[6])
  local known = reported_meanwhile(ref, f[5], tonumber(a.keep_ms), a.code)
  if known then return known end
  if f[8] then
    note_attempt(key, 'failed', '500', a.code)
    return controls.end_cancelled(ref)
  end
  local at = now + delay
  local other = routes.switch(ref, f[6], a.switch, at)
  if other then at = now end
  if at > tonumber(f[3]) and at > controls.ends_at(ref, known_of(ref)) then
    note_attempt(key, 'failed', '305', a.code)
    return finish(ref, S.failed, '305', a.code, 'Failed', tonumber(a.keep_ms))
  end
  if limit > 0 and at - tonumber(f[4]) > limit or is_tried_enough(f[7], a.attempts) then
    note_attempt(key, 'failed', a.reason, a.code)
    return finish(ref, S.failed, a.reason, a.code, 'Failed', tonumber(a.keep_ms))
  end
  try_again(ref, at, a.code)
  if other then ready('m:' .. ref) end
  return S.retry
end

-- @verb fail ref token reason detail keep_ms switch -> State|stale
-- switch: "route" where it was refused for what is the provider's; "" where it would be refused by any.
function verbs.fail()
  local ref = a.ref
  local f = redis.call('HMGET', 'dcb:m:' .. ref, F.state, F.token, F.part, F.channel_id, F.cancelled)
  if f[1] ~= S.sending or f[2] ~= a.token then return 'stale' end
  release_slot(ref, f[4])
  local known = reported_meanwhile(ref, f[3], tonumber(a.keep_ms), a.detail)
  if known then return known end
  if a.switch ~= '' and not f[5] and routes.switch(ref, f[4], a.switch, now) then
    try_again(ref, now, a.detail)
    ready('m:' .. ref)
    return S.retry
  end
  note_attempt('dcb:m:' .. ref, 'failed', a.reason, a.detail)
  return finish(ref, S.failed, a.reason, a.detail, 'Failed', tonumber(a.keep_ms))
end

-- @verb unknown ref token grace_ms code keep_ms -> State|stale
-- An empty token: the lease must have ended. The lane stays where it is: if the message is sent again, it must not be
-- overtaken. What the provider said of the part in the meantime settles it at once.
function verbs.unknown()
  local ref, token = a.ref, a.token
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.state, F.token, F.part, F.channel_id, F.attempt_began_at, F.began_at)
  if f[1] ~= S.sending then return 'stale' end
  if token == '' then
    if not is_due('m:' .. ref) then return 'stale' end
  elseif f[2] ~= token then
    return 'stale'
  end
  release_slot(ref, f[4])
  local known = reported_meanwhile(ref, f[3], tonumber(a.keep_ms), a.code)
  if known then return known end
  note_attempt(key, 'unknown', a.grace_ms, a.code)
  redis.call('HSET', key, F.state, S.unknown, F.last_code, a.code)
  redis.call('HDEL', key, F.token, F.lease_ends)
  redis.call('HSETNX', key, F.unknown_since, f[5] or f[6])
  redis.call('HSET', key, F.unknown_at, now)
  redis.call('HINCRBY', key, F.unknown_requests, 1)
  redis.call('HSETNX', key, F.lookups, 0)
  redis.call('HINCRBY', key, F.times_unknown, 1)
  redis.call('HINCRBY', 'dcb:counts', 'unknown', 1)
  redis.call('ZADD', 'dcb:due', now + tonumber(a.grace_ms), 'm:' .. ref)
  return S.unknown
end

-- A decision belongs to whoever finds the message due, or to whoever asks the provider about it.
local function may_decide(ref, token, asker)
  if token ~= '' then return asker == token end
  return is_due('m:' .. ref)
end

-- Whether one of unknown outcome would wait for its provider, which an operator has stopped, if it were sent again: then
-- it is asked first, when that is over. Its time to live ends that.
function controls.is_asked_later(ref, channel)
  local limits = controls.any and routes.of(ref, channel)
  local stopped = limits and controls.of('p/' .. limits.provider)
  if not stopped or controls.ends_at(ref, known_of(ref)) <= now then return false end
  redis.call('HSET', 'dcb:m:' .. ref, F.unknown_at, now)
  redis.call('ZADD', 'dcb:due', math.min(stopped.till or now + LOOK_LATE, now + LOOK_LATE), 'm:' .. ref)
  return true
end

-- @verb settle ref policy keep_ms most token attempts same_key_ms -> State|waiting|stale
-- An unknown outcome whose grace is over, or whose provider cannot tell. policy: "resend" or "fail"; a message that has
-- been sent again `most` times, perhaps for the second time, fails as well. "resend_elsewhere" is "resend" through another
-- provider, where there is one. Within `same_key_ms` of the first such request a second one is no second message, and the
-- policy is "same_key".
function verbs.settle()
  local ref, key = a.ref, 'dcb:m:' .. a.ref
  local f = redis.call('HMGET', key, F.state, F.lookup_token, F.times_unknown, F.times_absent, F.channel_id, F.attempts,
    F.unknown_since, F.cancelled)
  if f[1] ~= S.unknown or not may_decide(ref, a.token, f[2]) then return 'stale' end
  local policy = a.policy
  if now - tonumber(f[7] or '0') < tonumber(a.same_key_ms) then
    policy = 'same_key'
  elseif tonumber(f[3] or '0') - tonumber(f[4] or '0') > tonumber(a.most) then policy = 'fail' end
  if f[8] or is_tried_enough(f[6], a.attempts) then policy = 'fail' end
  if policy == 'resend' and a.token == '' and controls.is_asked_later(ref, f[5]) then return 'waiting' end
  lookup_ends(ref, f[5])
  redis.call('HINCRBY', 'dcb:counts', 'unknown_' .. policy, 1)
  note(key, 'settled', policy)
  if policy == 'fail' then
    return finish(ref, S.failed, '500', 'outcome unknown', 'Failed', tonumber(a.keep_ms))
  end
  if policy == 'resend_elsewhere' then routes.resend_elsewhere(ref, f[5]) end
  redis.call('HSET', key, F.state, S.retry, F.not_before, now)
  ready('m:' .. ref)
  return S.retry
end

-- @verb confirm_over ref detail reason receipt keep_ms confirm_ms token -> State|stale
-- Sent, and nobody ever said what became of it. "sent" where it was looked at early, because its provider could be asked
-- at that time.
function verbs.confirm_over()
  local ref = a.ref
  local f = redis.call('HMGET', 'dcb:m:' .. ref, F.state, F.lookup_token, F.sent_at, F.channel_id)
  if f[1] ~= S.sent or not may_decide(ref, a.token, f[2]) then return 'stale' end
  lookup_ends(ref, f[4])
  local over = tonumber(f[3]) + tonumber(a.confirm_ms)
  if over > now then
    redis.call('ZADD', 'dcb:due', over, 'm:' .. ref)
    return S.sent
  end
  return finish(ref, S.unconfirmed, a.reason, a.detail, a.receipt, tonumber(a.keep_ms))
end

-- What "delivered" of one SMS says of its part, of whose SMS each is reported by itself: no more than "sent" until the
-- last of them is delivered. Never more ids are kept than there are SMS.
local function piece_delivered(ref, part, provider_id, pieces)
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.state, F.pieces .. part)
  if not f[1] or TERMINAL[f[1]] then return U.delivered end -- it changes nothing
  local said = f[2] or ' '
  if not said:find(' ' .. provider_id .. ' ', 1, true) then
    said = said .. provider_id .. ' '
    redis.call('HSET', key, F.pieces .. part, said)
  end
  local _, spaces = said:gsub(' ', '')
  return spaces > pieces and U.delivered or U.sent
end

-- pieces: of how many SMS, each of which is reported by itself, this is about one; provider_id is that SMS's
-- provider: who says so, or "" where that is not asked
-- @verb update ref part status provider_id reason detail confirm_ms keep_ms pieces provider cost -> State|next|noted|parked|repeated|late|gone|left|doubled|other_provider
function verbs.update()
  local status, pieces = a.status, tonumber(a.pieces)
  if status == U.delivered and pieces > 1 then status = piece_delivered(a.ref, a.part, a.provider_id, pieces) end
  local result = apply_update(a.ref, tonumber(a.part), status, a.provider_id, a.reason, a.detail, tonumber(a.confirm_ms),
    tonumber(a.keep_ms), a.provider)
  if result ~= 'gone' and result ~= 'other_provider' then routes.charged(a.ref, tonumber(a.part), a.cost) end
  note('dcb:m:' .. a.ref, 'update', a.part, status, result, a.detail)
  return result
end
