-- ---------------------------------------------------------------- messages of dcbridge's own
--
--   dcb:own-hour:<channel>             how many of them the channel sent in the last hour
--   dcb:own:<channel>:<token>          how many of them one consumer got in the last day
--   dcb:own:<channel>:<token>:<same>   how often one text of them, in the last minutes
--   dcb:kept:<ref>                     an agent's message, encrypted (kept_text.py), for as long as it may be sent again
--   dcb:trigger:<name>                 how many calls of a trigger were taken in the last minute
--
-- The channel of such an entry is "own/<channel>", and so are its books: no agent wrote it, and no receipt is owed. A worker of
-- an older version knows no such channel, and leaves it to one that does (unconfigured.lua). Where it reads a delivery update of
-- one, it writes a receipt that it cannot post, since the entry has no sender, and sets it aside.

-- Counts one more within a time that begins with the first. -> whether it is more than `most`
local function is_too_many(key, most, within)
  if tonumber(redis.call('GET', key) or '0') >= tonumber(most) then return true end
  if redis.call('INCR', key) == 1 then redis.call('PEXPIRE', key, within) end
  return false
end

-- Written, and in its place in the conversation.
local function enter(ref, books, message_id, to, lane, payload, trace, ttl, cause, kept_for, consumer, index_ms)
  local key = 'dcb:m:' .. ref
  redis.call('HSET', key, F.state, S.accepted, F.channel_id, books, F.message_id, message_id, F.to_id, to,
    F.lane, lane, F.trace_id, trace, F.accepted_at, now, F.attempts, 0, F.part, 0, F.expires_at, now + ttl,
    F.payload_ref, ref, F.cause, cause, F.kept_for, kept_for)
  if consumer ~= '' then redis.call('HSET', key, F.consumer, consumer) end
  index.accepted(ref, books, consumer, index_ms)
  redis.call('SET', 'dcb:p:' .. ref, payload)
  redis.call('HINCRBY', 'dcb:books:' .. books, 'accepted', 1)
  redis.call('ZADD', 'dcb:open:' .. books, now, ref)
  redis.call('SADD', 'dcb:channels', books)
  lane_push(lane, 'm:' .. ref, {books, now, now + ttl, 0, '0'})
end

-- @verb own_put ref books message_id to lane payload trace ttl_ms cause mark scope token a_day day_ms an_hour hour_ms repeats same same_ms keep_ms consumer index_ms -> new|again|other|stopped|day_cap|hour_cap|repeated
-- an_hour: 0 where the channel sends any number.
function verbs.own_put()
  local key, books, ttl = 'dcb:m:' .. a.ref, a.books, tonumber(a.ttl_ms)
  local known = redis.call('HMGET', key, F.state, F.content_mark)
  if known[1] then
    if (known[2] or '') ~= a.mark then return 'other' end
    redis.call('HINCRBY', 'dcb:books:' .. books, 'again', 1)
    return 'again'
  end
  if a.scope ~= '' and redis.call('HEXISTS', 'dcb:stop:' .. a.scope, a.token) == 1 then return 'stopped' end
  local counted = 'dcb:own:' .. string.sub(books, 5) .. ':' .. a.token
  if tonumber(redis.call('GET', counted) or '0') >= tonumber(a.a_day) then return 'day_cap' end
  local of_channel = 'dcb:own-hour:' .. string.sub(books, 5)
  local most = tonumber(a.an_hour)
  if most > 0 and tonumber(redis.call('GET', of_channel) or '0') >= most then return 'hour_cap' end
  if is_too_many(counted .. ':' .. a.same, a.repeats, a.same_ms) then return 'repeated' end
  is_too_many(counted, a.a_day, a.day_ms)
  if most > 0 then is_too_many(of_channel, most, a.hour_ms) end
  if a.mark ~= '' then redis.call('HSET', key, F.content_mark, a.mark) end
  enter(a.ref, books, a.message_id, a.to, a.lane, a.payload, a.trace, ttl, a.cause, a.keep_ms, a.consumer, tonumber(a.index_ms))
  return 'new'
end

-- @verb own_again ref first books message_id to payload trace ttl_ms cause keep_ms consumer index_ms -> new|again|gone|not ended
-- A message that has ended is sent once more as one of dcbridge's own. first: its ref; both traces name the other one.
function verbs.own_again()
  if redis.call('EXISTS', 'dcb:m:' .. a.ref) == 1 then return 'again' end
  local f = redis.call('HMGET', 'dcb:m:' .. a.first, F.state, F.lane)
  if not f[1] then return 'gone' end
  if not TERMINAL[f[1]] then return 'not ended' end
  enter(a.ref, a.books, a.message_id, a.to, f[2], a.payload, a.trace, tonumber(a.ttl_ms), a.cause, a.keep_ms, a.consumer,
    tonumber(a.index_ms))
  note('dcb:m:' .. a.first, 'again', a.ref)
  return 'new'
end

-- @verb own_admit trigger per_minute -> ms
-- 0 where one more call of a trigger may be taken; else how long to wait.
function verbs.own_admit()
  local key = 'dcb:trigger:' .. a.trigger
  if not is_too_many(key, a.per_minute, 60000) then return 0 end
  return math.max(1, redis.call('PTTL', key))
end

-- @verb own_tidy -> count
-- Receipts of such messages that older workers set aside.
function verbs.own_tidy()
  local found = 0
  for _, member in ipairs(redis.call('ZRANGE', 'dcb:aside', 0, 999)) do
    if string.sub(member, 1, 2) == 'r:' and string.sub(aside.field('m:' .. string.sub(member, 3), F.channel_id), 1, 4) == 'own/' then
      aside.forget(member)
      redis.call('HDEL', 'dcb:m:' .. string.sub(member, 3), F.to_id)
      found = found + 1
    end
  end
  return found
end
