-- ---------------------------------------------------------------- pauses: a provider asked not to be spoken to
--
--   dcb:pause:<provider>   ms until which it is left alone
--   dcb:paused:<provider>  the same pause: since, asked (ms that it asked for), code (of the answer that asked)
--   dcb:pause-most         provider -> ms that a pause may have at most, where that is not the usual
--
-- A pause is never longer than that, whoever wrote it: an older version believed whatever it was told.

local PAUSE_MOST = 3600000
local blocked_read = {} -- provider -> whether it may be spoken to, as this call has read it (lines.lua)

local function pause_most(provider)
  return tonumber(redis.call('HGET', 'dcb:pause-most', provider)) or PAUSE_MOST
end

-- ms until which a provider is to be left alone; 0 or the past where it is not.
local function paused_till(provider)
  local till = tonumber(redis.call('GET', 'dcb:pause:' .. provider)) or 0
  if till - now <= PAUSE_MOST then return till end
  local most = pause_most(provider)
  if till - now > most then
    till = now + most
    redis.call('SET', 'dcb:pause:' .. provider, till, 'PX', most)
  end
  return till
end

-- pause provider ms asked_ms code -> 1 where it begins, 0 where it goes on
function verbs.pause()
  local provider, most = ARGV[3], pause_most(ARGV[3])
  local ms = math.max(1, math.min(tonumber(ARGV[4]), most))
  local till, was = now + ms, paused_till(provider)
  if was >= till then return 0 end
  blocked_read[provider] = nil
  redis.call('SET', 'dcb:pause:' .. provider, till, 'PX', ms)
  local key = 'dcb:paused:' .. provider
  if was <= now then redis.call('DEL', key) end
  redis.call('HSETNX', key, 'since', now)
  redis.call('HSET', key, 'asked', ARGV[5] or ARGV[4], 'code', ARGV[6] or '')
  redis.call('PEXPIRE', key, ms)
  return was <= now and 1 or 0
end

-- pause_limits (provider ms)…: what the configuration says; a pause that is longer ends earlier. -> providers whose did
function verbs.pause_limits()
  local cut = {}
  redis.call('DEL', 'dcb:pause-most')
  blocked_read = {}
  for i = 3, #ARGV, 2 do
    local provider, most = ARGV[i], tonumber(ARGV[i + 1])
    if most ~= PAUSE_MOST then redis.call('HSET', 'dcb:pause-most', provider, most) end
    local till = tonumber(redis.call('GET', 'dcb:pause:' .. provider)) or 0
    if till - now > most then
      redis.call('SET', 'dcb:pause:' .. provider, now + most, 'PX', most)
      cut[#cut + 1] = provider
    end
  end
  return cut
end

-- pause_ends provider channel… -> 1 where there was one. The lines of these channels are looked at (lines.lua).
function verbs.pause_ends()
  local provider = ARGV[3]
  local was = redis.call('DEL', 'dcb:pause:' .. provider)
  blocked_read[provider] = nil
  redis.call('DEL', 'dcb:paused:' .. provider)
  redis.call('ZADD', 'dcb:lines', 'XX', now, 'p-' .. provider)
  for i = 4, #ARGV do redis.call('ZADD', 'dcb:lines', 'XX', now, 'c-' .. ARGV[i]) end
  return was
end

-- wake_waiting ref… -> how many of them are looked at now, and not when their time would have come. Those in a line
-- have been seen to, and those with a job are on their way.
function verbs.wake_waiting()
  local woken = 0
  for i = 3, #ARGV do
    local key = 'dcb:m:' .. ARGV[i]
    local f = redis.pcall('HMGET', key, F.state, F.line, F.queued_at, F.slot)
    local due = tonumber(redis.call('ZSCORE', 'dcb:due', 'm:' .. ARGV[i]) or '0')
    if (f[1] == S.accepted or f[1] == S.retry) and not f[2] and not f[3] and not f[4] and due > now then
      if f[1] == S.retry then redis.call('HSET', key, F.not_before, now) end
      redis.call('ZADD', 'dcb:due', now, 'm:' .. ARGV[i])
      woken = woken + 1
    end
  end
  return woken
end

-- wake_deliveries subscriber delivery… -> as above, for events that wait for their next attempt.
function verbs.wake_deliveries()
  local woken = 0
  redis.call('HDEL', 'dcb:s:' .. ARGV[3], 'gently')
  for i = 4, #ARGV do
    local key = 'dcb:t:' .. ARGV[i]
    local f = redis.pcall('HMGET', key, F.state, F.not_before)
    if f[1] == T.waiting and (tonumber(f[2]) or 0) > now then
      redis.call('HSET', key, F.not_before, now)
      redis.call('ZADD', 'dcb:due', now, 't:' .. ARGV[i])
      woken = woken + 1
    end
  end
  return woken
end

-- waits_bound most_ms: receipts and tasks that an older version put off for longer than anything waits -> how many
function verbs.waits_bound()
  local most, found = tonumber(ARGV[3]), 0
  local after = '(' .. string.format('%.0f', now + most)
  for _, channel in ipairs(redis.call('SMEMBERS', 'dcb:channels')) do
    for _, ref in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:receipts:' .. channel, after, '+inf', 'LIMIT', 0, 1000)) do
      redis.call('ZADD', 'dcb:receipts:' .. channel, now, ref)
      found = found + 1
    end
  end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:due', after, '+inf', 'LIMIT', 0, 1000)) do
    local kind = string.sub(member, 1, 6) -- deliveries have a schedule of their own
    if string.sub(kind, 1, 2) == 't:' and kind ~= 't:evt_' and kind ~= 't:own_' then
      local state = aside.field(member, F.state)
      if state == T.waiting then redis.call('HSET', 'dcb:' .. member, F.not_before, now) end
      redis.call('ZADD', 'dcb:due', now, member)
      found = found + 1
    end
  end
  return found
end
