-- ---------------------------------------------------------------- outcomes: what a message becomes, and the end of it

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
  local f = redis.call('HMGET', key, F.channel_id, F.lane, F.state, F.lookups, F.line, F.slot, F.booked_by,
    F.accepted_at)
  if not f[1] or TERMINAL[f[3]] then return f[3] or 'gone' end
  if string.sub(f[1], 1, 4) == 'own/' then -- no agent wrote it
    receipt, keep_ms = '', redis.call('HGET', key, F.kept_for) or keep_ms
  end
  if f[7] then routes.ended(ref, f[1], f[7], state, detail) end
  index.ended(ref, state, f[8])
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

-- attempts: how many one part of a message may have, 0 for any number
local function is_tried_enough(attempts, most)
  most = tonumber(most or '0')
  return most > 0 and tonumber(attempts or '0') >= most
end

local function lookup_ends(ref, channel)
  redis.call('HDEL', 'dcb:m:' .. ref, F.lookup_token, F.lookup_lease_ends, F.lookup_queued_at, F.lookup_failures, F.lookup_is_probe)
  local limits = routes.of(ref, channel)
  if limits and limits[1].cap > 0 then redis.call('ZREM', 'dcb:flight:q-' .. limits.provider, ref) end
end
