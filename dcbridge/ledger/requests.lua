-- ---------------------------------------------------------------- requests to Genesys' interfaces
--
--   dcb:tat:g-<interface>   when its next request in turn may go, as of pacing.lua

-- @verb request_slot interface per_second burst most_ms -> ms
-- ms from now when one more request may be written; -1 where that is more than most_ms, and nothing is taken.
function verbs.request_slot()
  local key, step = 'dcb:tat:g-' .. a.interface, 1000 / tonumber(a.per_second)
  local room = tonumber(a.burst) * step
  local arrival = math.max(tonumber(redis.call('GET', key)) or 0, now) + step
  local due_in = math.max(0, math.ceil(arrival - room - now))
  if due_in > tonumber(a.most_ms) then return -1 end
  redis.call('SET', key, string.format('%.3f', arrival), 'PX', math.ceil(arrival - now + room) + 1000)
  return due_in
end

-- @verb post_begin id token -> go|began|stale
-- Just before a request is written that has no key for repetitions. began: an earlier claim of this task came so far, and
-- it is not known whether Genesys has it.
function verbs.post_begin()
  local key = 'dcb:t:' .. a.id
  local f = redis.call('HMGET', key, F.state, F.token, F.posting)
  if f[1] ~= T.running or f[2] ~= a.token then return 'stale' end
  if f[3] and string.match(f[3], '^%S*') ~= a.token then return 'began' end
  redis.call('HSET', key, F.posting, a.token .. ' ' .. now)
  return 'go'
end

-- @verb post_free id token -> ok|stale
-- It is certain that Genesys does not have it.
function verbs.post_free()
  local key = 'dcb:t:' .. a.id
  if string.match(redis.call('HGET', key, F.posting) or '', '^%S*') ~= a.token then return 'stale' end
  redis.call('HDEL', key, F.posting)
  return 'ok'
end
