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

-- @verb pause provider ms asked_ms code -> 1|0
-- 0 where it goes on.
function verbs.pause()
  local provider, most = a.provider, pause_most(a.provider)
  local ms = math.max(1, math.min(tonumber(a.ms), most))
  local till, was = now + ms, paused_till(provider)
  if was >= till then return 0 end
  blocked_read[provider] = nil
  redis.call('SET', 'dcb:pause:' .. provider, till, 'PX', ms)
  redis.call('ZADD', 'dcb:lines', 'XX', now, 'p-' .. provider) -- there may be another way
  local key = 'dcb:paused:' .. provider
  if was <= now then redis.call('DEL', key) end
  redis.call('HSETNX', key, 'since', now)
  redis.call('HSET', key, 'asked', a.asked_ms or a.ms, 'code', a.code or '')
  redis.call('PEXPIRE', key, ms)
  return was <= now and 1 or 0
end

-- @verb pause_limits (provider ms)… -> {provider…}
-- What the configuration says; a pause that is longer ends earlier. -> providers whose did
function verbs.pause_limits()
  local cut = {}
  redis.call('DEL', 'dcb:pause-most')
  blocked_read = {}
  for i = each.from, #ARGV, each.size do
    local provider, most = each.provider, tonumber(each.ms)
    if most ~= PAUSE_MOST then redis.call('HSET', 'dcb:pause-most', provider, most) end
    local till = tonumber(redis.call('GET', 'dcb:pause:' .. provider)) or 0
    if till - now > most then
      redis.call('SET', 'dcb:pause:' .. provider, now + most, 'PX', most)
      cut[#cut + 1] = provider
    end
  end
  return cut
end

-- @verb pause_ends provider channel… -> 1|0
-- 1 where there was one. The lines of these channels are looked at (lines.lua).
function verbs.pause_ends()
  local provider = a.provider
  local was = redis.call('DEL', 'dcb:pause:' .. provider)
  blocked_read[provider] = nil
  redis.call('DEL', 'dcb:paused:' .. provider)
  redis.call('ZADD', 'dcb:lines', 'XX', now, 'p-' .. provider)
  for i = each.from, #ARGV do redis.call('ZADD', 'dcb:lines', 'XX', now, 'c-' .. each.channel) end
  return was
end

-- @verb wake_waiting ref… -> count
-- -> how many of them are looked at now, and not when their time would have come. Those in a line have been seen to, and
-- those with a job are on their way.
function verbs.wake_waiting()
  local woken = 0
  for i = each.from, #ARGV do
    local key = 'dcb:m:' .. each.ref
    local f = redis.pcall('HMGET', key, F.state, F.line, F.queued_at, F.slot)
    local due = tonumber(redis.call('ZSCORE', 'dcb:due', 'm:' .. each.ref) or '0')
    if (f[1] == S.accepted or f[1] == S.retry) and not f[2] and not f[3] and not f[4] and due > now then
      if f[1] == S.retry then redis.call('HSET', key, F.not_before, now) end
      redis.call('ZADD', 'dcb:due', now, 'm:' .. each.ref)
      woken = woken + 1
    end
  end
  return woken
end

-- @verb wake_deliveries subscriber delivery… -> count
-- As above, for events that wait for their next attempt.
function verbs.wake_deliveries()
  local woken = 0
  redis.call('HDEL', 'dcb:s:' .. a.subscriber, 'gently')
  for i = each.from, #ARGV do
    local key = 'dcb:t:' .. each.delivery
    local f = redis.pcall('HMGET', key, F.state, F.not_before)
    if f[1] == T.waiting and (tonumber(f[2]) or 0) > now then
      redis.call('HSET', key, F.not_before, now)
      redis.call('ZADD', 'dcb:due', now, 't:' .. each.delivery)
      woken = woken + 1
    end
  end
  return woken
end

-- @verb waits_bound most_ms -> count
-- Receipts and tasks that an older version put off for longer than anything waits.
function verbs.waits_bound()
  local most, found = tonumber(a.most_ms), 0
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
