-- ---------------------------------------------------------------- bookings: calls that consumers asked for by text
--
--   dcb:asked:<key>     the question that a consumer may answer with a number: the task that asked it, a blank, its JSON
--   dcb:booking:<key>   the call of a consumer: state (creating, booked, unknown), task (that asked for it) and token
--                       (of its claim), id (of Genesys, "" where it named none), time (ms, 0 for now)
--
--   dcb:booked:<key>    how many requests to book a consumer has caused within a day
--   dcb:wished:<key>    how many texts about a call, for each of which Genesys is asked a few questions
--
-- <key> is "<channel>:<token of the consumer>". How far the request of one task has come is also in the task itself
-- (F.booking), and stays there: "creating" before its bytes are written, then "booked" or "unknown"; nothing where it is
-- certain that Genesys did not take it. A request has no key for repetitions, so a task writes one once.

local DAY = 86400000 -- ms

-- @verb booking_wish key most -> 1|0
-- Whether Genesys may be asked once more for a consumer, who has caused fewer than `most` of it within a day.
function verbs.booking_wish()
  local counted = 'dcb:wished:' .. a.key
  if (tonumber(redis.call('GET', counted)) or 0) >= tonumber(a.most) then return 0 end
  if redis.call('INCR', counted) == 1 then redis.call('PEXPIRE', counted, DAY) end
  return 1
end

-- @verb booking_begin id token key time_ms keep_ms most -> go|stale|taken|busy|many|creating|booked|unknown
-- go: the caller may write the request. taken: the consumer has another call; busy: another task writes one just now;
-- many: has had `most` within a day. Else how far it had come before.
function verbs.booking_begin()
  local task, key = 'dcb:t:' .. a.id, 'dcb:booking:' .. a.key
  local f = redis.call('HMGET', task, F.state, F.token, F.booking)
  if f[1] ~= T.running or f[2] ~= a.token then return 'stale' end
  local known = redis.call('HMGET', key, 'state', 'task', 'token')
  if f[3] == 'creating' and known[2] == a.id and known[3] == a.token then return 'go' end -- the reply was lost
  if f[3] then return f[3] end
  if known[1] == 'booked' then return 'taken' end
  if known[1] == 'creating' and known[2] ~= a.id then
    local its = redis.call('HGET', 'dcb:t:' .. (known[2] or ''), F.state)
    if its == T.running or its == T.waiting then return 'busy' end
  end
  local counted = 'dcb:booked:' .. a.key
  if (tonumber(redis.call('GET', counted)) or 0) >= tonumber(a.most) then return 'many' end
  if redis.call('INCR', counted) == 1 then redis.call('PEXPIRE', counted, DAY) end
  redis.call('HSET', task, F.booking, 'creating')
  redis.call('DEL', key, 'dcb:asked:' .. a.key)
  redis.call('HSET', key, 'state', 'creating', 'task', a.id, 'token', a.token, 'id', '', 'time', a.time_ms)
  redis.call('PEXPIRE', key, a.keep_ms)
  return 'go'
end

-- @verb booking_end id key how callback keep_ms watch payload trace channel -> ok|stale
-- how: booked, unknown, or free where Genesys did not take it. Whoever says so: what is known is better than "unknown".
-- watch: the id of the task that asks what becomes of it, "" for none.
function verbs.booking_end()
  local task, key = 'dcb:t:' .. a.id, 'dcb:booking:' .. a.key
  local was = redis.call('HGET', task, F.booking)
  if was ~= 'creating' and (was ~= 'unknown' or a.how == 'unknown') then return 'stale' end
  local mine = redis.call('HGET', key, 'task') == a.id
  if a.how == 'free' then
    redis.call('HDEL', task, F.booking)
    if mine then redis.call('DEL', key) end
    return 'ok'
  end
  redis.call('HSET', task, F.booking, a.how)
  if mine then
    redis.call('HSET', key, 'state', a.how, 'id', a.callback)
    redis.call('PEXPIRE', key, a.keep_ms)
  end
  if a.watch ~= '' and redis.call('EXISTS', 'dcb:t:' .. a.watch) == 0 then
    tasks.put(a.watch, 'watch', '', a.payload, a.trace, a.channel)
  end
  return 'ok'
end

-- @verb booking_over key callback -> over|other
-- It is completed, cancelled or gone.
function verbs.booking_over()
  local key = 'dcb:booking:' .. a.key
  local f = redis.call('HMGET', key, 'id', 'state')
  if f[2] ~= 'booked' or f[1] ~= a.callback then return 'other' end
  redis.call('DEL', key)
  return 'over'
end

-- @verb booking_ask id key question keep_ms -> question
-- The same question where this task has asked one: it may have been sent.
function verbs.booking_ask()
  local key = 'dcb:asked:' .. a.key
  local asked = redis.call('GET', key)
  if asked and string.sub(asked, 1, #a.id + 1) == a.id .. ' ' then return string.sub(asked, #a.id + 2) end
  redis.call('SET', key, a.id .. ' ' .. a.question, 'PX', a.keep_ms)
  return a.question
end

-- @verb booking_unask key -> ok
function verbs.booking_unask()
  redis.call('DEL', 'dcb:asked:' .. a.key)
  return 'ok'
end
