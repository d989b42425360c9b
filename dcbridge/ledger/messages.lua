-- ---------------------------------------------------------------- agent messages

local KNOWN = 14400000 -- ms at least; as dcbridge.ledger.lookups.KNOWN

-- What lookups.lua keeps in an entry, once the outcome was unknown or a lookup was queued: then it has `lookups`.
local function forget_lookup(key)
  redis.call('HDEL', key, F.unknown_since, F.unknown_requests, F.unknown_at, F.lookup_queued_at, F.lookup_token,
    F.lookup_lease_ends, F.lookup_failures, F.lookup_is_probe, F.slot)
end

-- The payload is a key of its own: without it an entry is small enough for Redis' compact encoding. Copies of a
-- message to several recipients share one; the last copy to need it takes it along.
local function drop_payload(key)
  local first = redis.call('HGET', key, F.payload_ref)
  if not first then return end
  redis.call('HDEL', key, F.payload_ref)
  if redis.call('EXISTS', 'dcb:pn:' .. first) == 1 and redis.call('DECR', 'dcb:pn:' .. first) > 0 then return end
  redis.call('DEL', 'dcb:p:' .. first, 'dcb:pn:' .. first)
end

-- Whose a provider's id is, for as long as a search of its list may find it (what is another's is not ours), and a
-- callback may name a message by it alone.
local function keep_id(ref, part, channel, provider, provider_id)
  local limits = routes.of(ref, channel)
  local ours, keep_ms = ref .. ' ' .. part, math.max(KNOWN, limits and limits.known or 0)
  local was = redis.call('SET', 'dcb:id:' .. provider .. ':' .. provider_id, ours, 'PX', keep_ms, 'GET')
  if was and was ~= ours then redis.call('HINCRBY', 'dcb:counts', 'found_twice', 1) end
end

-- `provider`: who says so, where it may be another than the present one.
local function remember_id(ref, part, channel, provider_id, provider)
  if provider_id == '' then return end
  local limits = provider and routes.limits(channel, provider) or routes.of(ref, channel)
  if limits and limits.keeper then keep_id(ref, part, channel, limits.keeper, provider_id) end
end

-- The one way into a terminal state: books, lane, due time, privacy and receipt together.
finish = function(ref, state, reason, detail, receipt, keep_ms)
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.channel_id, F.lane, F.state, F.lookups, F.line, F.slot, F.booked_by)
  if not f[1] or TERMINAL[f[3]] then return f[3] or 'gone' end
  if string.sub(f[1], 1, 4) == 'own/' then -- no agent wrote it
    receipt, keep_ms = '', redis.call('HGET', key, F.kept_for) or keep_ms
  end
  if f[7] then routes.ended(ref, f[1], f[7], state, detail) end
  redis.call('HSET', key, F.state, state, F.reason, reason, F.detail, detail, F.ended_at, now, F.receipt_status, receipt)
  redis.call('HDEL', key, F.token, F.lease_ends)
  if f[5] or f[6] then stop_waiting(ref, f[1], f[5], f[6]) end
  if f[4] then forget_lookup(key) end
  drop_payload(key)
  redis.call('ZREM', 'dcb:due', 'm:' .. ref)
  redis.call('ZREM', 'dcb:open:' .. f[1], ref)
  redis.call('HINCRBY', 'dcb:books:' .. f[1], state, 1)
  lane_leave(f[2], 'm:' .. ref)
  if receipt ~= '' then
    owed.put(ref, f[1])
  else
    redis.call('HDEL', key, F.sender_id, F.to_id)
    redis.call('PEXPIRE', key, keep_ms)
  end
  return state
end

-- What an operator has cancelled while its request was under way: it is not sent again.
function controls.end_cancelled(ref)
  return finish(ref, S.failed, '500', controls.CANCELLED, 'Failed', 0)
end

local function all_parts_are(ref, count, word)
  for part = 0, count - 1 do
    if redis.call('HGET', 'dcb:m:' .. ref, F.part_status .. part) ~= word then return false end
  end
  return true
end

-- One part is known to be taken. Either the next part's turn comes, or the message is sent.
local function part_taken(ref, part, count, provider_id, delivered, confirm_ms, keep_ms)
  local key = 'dcb:m:' .. ref
  redis.call('HSET', key, F.provider_id .. part, provider_id, F.part, part + 1, F.parts, count, F.attempts, 0)
  redis.call('HDEL', key, F.token, F.lease_ends, F.last_code, F.line)
  if redis.call('HEXISTS', key, F.lookups) == 1 then forget_lookup(key) end
  if part + 1 < count then
    redis.call('HSET', key, F.state, S.accepted)
    ready('m:' .. ref)
    return 'next'
  end
  redis.call('HSET', key, F.state, S.sent, F.sent_at, now)
  if delivered == '1' or all_parts_are(ref, count, U.delivered) then
    return finish(ref, S.delivered, '', '', 'Delivered', keep_ms)
  end
  lane_leave(redis.call('HGET', key, F.lane), 'm:' .. ref)
  drop_payload(key)
  redis.call('ZADD', 'dcb:due', now + confirm_ms, 'm:' .. ref)
  return S.sent
end

-- What the provider said of the part while its request was under way outweighs how the request ended:
-- without this, a part that is known to be taken would be sent again. nil where it said nothing.
local function reported_meanwhile(ref, part, keep_ms, code)
  local key = 'dcb:m:' .. ref
  local other = redis.call('HGET', key, F.parked_provider)
  if other then
    routes.back(ref, redis.call('HGET', key, F.channel_id), other)
  elseif redis.call('HEXISTS', key, F.part_status .. part) == 0 then
    return nil
  end
  note_attempt(key, 'told', '0', code)
  local f = redis.call('HMGET', key, F.parts, F.parked_provider_id, F.parked_confirm_ms)
  return part_taken(ref, tonumber(part), tonumber(f[1] or '1'), f[2] or '', '0', tonumber(f[3]), keep_ms)
end

-- A claim that is asked for again, of which nothing is written yet, ends where an operator has stopped the message since.
function controls.give_back(ref, channel, part, keep_ms)
  routes.give_back(ref, channel)
  local state = reported_meanwhile(ref, part, keep_ms, 'paused')
  if state then return state end
  routes.unclaim(ref, channel)
  line_up(ref)
  return 'paused'
end

-- What somebody who knows says of a part: the state, and "repeated", "late" or "gone" where it changes nothing.
-- status: sent, delivered, failed or removed. A terminal state never changes; a part never goes back. `provider`: who says
-- so; "" where that is not asked.
local function apply_update(ref, part, status, provider_id, reason, detail, confirm_ms, keep_ms, provider)
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.state, F.part_status .. part, F.part, F.parts, F.channel_id, F.provider_id .. part,
    F.booked_by)
  if not f[1] then return 'gone' end
  if f[7] and provider ~= '' then
    local g = redis.call('HMGET', key, F.provider, F.chosen_for, F.total_attempts, F.left_providers)
    local about = {state = f[1], part = f[3], channel_id = f[5], booked_by = f[7], provider = g[1], chosen_for = g[2],
      total_attempts = g[3], left_providers = g[4]}
    local answer = routes.foreign(ref, about, part, status, provider, function()
      redis.call('HSET', key, F.part_status .. part, status)
      return part_taken(ref, part, tonumber(f[4] or '1'), provider_id, '0', confirm_ms, keep_ms)
    end)
    if answer == 'parked' then
      redis.call('HSET', key, F.parked_provider_id, provider_id, F.parked_confirm_ms, confirm_ms)
    end
    if answer then return answer end
    routes.heard(ref, provider)
  end
  if f[6] ~= provider_id then remember_id(ref, part, f[5], provider_id, f[7]) end
  if TERMINAL[f[1]] then return 'late' end
  if f[2] == status or f[2] == U.delivered or f[2] == U.failed or f[2] == U.removed then return 'repeated' end
  if part > tonumber(f[3]) then return 'gone' end
  redis.call('HSET', key, F.part_status .. part, status)
  if f[6] == '' then redis.call('HSET', key, F.provider_id .. part, provider_id) end -- the answer to the send could not be read
  if f[1] == S.sending and (status == U.failed or status == U.removed) then release_slot(ref, f[5]) end
  if status == U.failed then return finish(ref, S.failed, reason, detail, 'Failed', keep_ms) end
  if status == U.removed then return finish(ref, S.removed, '', '', 'Removed', keep_ms) end
  if f[1] == S.sending and part == tonumber(f[3]) then
    -- The answer to the request is still on its way to a worker, or lost with it.
    redis.call('HSET', key, F.parked_provider_id, provider_id, F.parked_confirm_ms, confirm_ms)
    return 'parked'
  end
  if part == tonumber(f[3]) and f[1] ~= S.sent then
    -- unknown, or about to be sent again: the provider has it after all.
    return part_taken(ref, part, tonumber(f[4] or '1'), provider_id, '0', confirm_ms, keep_ms)
  end
  if status == U.delivered and f[1] == S.sent and all_parts_are(ref, tonumber(f[4]), U.delivered) then
    return finish(ref, S.delivered, '', '', 'Delivered', keep_ms)
  end
  return 'noted'
end

-- Copies of one message stand together, the first one first; they end, and are forgotten, each in its own time.
local function any_copy_exists(from)
  local first, i = ARGV[from + 1], from
  while i <= #ARGV and ARGV[i + 1] == first do
    if redis.call('EXISTS', 'dcb:m:' .. ARGV[i]) == 1 then return true end
    i = i + 14
  end
  return false
end

-- @verb accept keep_ms dead_keep_ms (ref first channel message_id sender to lane payload trace ttl_ms reason detail raw copies)… -> {new|again…}
-- Of several copies only the first brings the payload.
-- `first` is the ref of the message's first copy: where one of them exists, the whole message is a redelivery.
-- With a reason the message ends at once as Failed; with raw bytes they become a dead letter as well.
function verbs.accept()
  local keep_ms, dead_keep_ms, fresh, answers = tonumber(a.keep_ms), tonumber(a.dead_keep_ms), {}, {}
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
        F.expires_at, now + ttl, F.payload_ref, first)
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

local LARGE = 65536 -- bytes of a payload that is not handed out with each claim; as dcbridge.ledger.messages.LARGE

-- @verb claim ref token lease_ms keep_ms -> {go, fields…}|{why not}
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

-- attempts: how many one part of a message may have, 0 for any number
local function is_tried_enough(attempts, most)
  most = tonumber(most or '0')
  return most > 0 and tonumber(attempts or '0') >= most
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

local function lookup_ends(ref, channel)
  redis.call('HDEL', 'dcb:m:' .. ref, F.lookup_token, F.lookup_lease_ends, F.lookup_queued_at, F.lookup_failures, F.lookup_is_probe)
  local limits = routes.of(ref, channel)
  if limits and limits[1].cap > 0 then redis.call('ZREM', 'dcb:flight:q-' .. limits.provider, ref) end
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
