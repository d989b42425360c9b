-- ---------------------------------------------------------------- channels that are not configured

-- @verb strand ref token keep_ms -> waits|State|stale
-- Whoever claimed it knows no such channel. It costs no attempt.
function verbs.strand()
  local ref, key = a.ref, 'dcb:m:' .. a.ref
  local f = redis.call('HMGET', key, F.state, F.token, F.channel_id, F.part)
  if f[1] ~= S.sending or f[2] ~= a.token then return 'stale' end
  release_slot(ref, f[3])
  local state = reported_meanwhile(ref, f[4], tonumber(a.keep_ms), 'channel is not configured')
  if state then return state end
  local first = routes.uncount(key) == 0
  redis.call('HSET', key, F.state, first and S.accepted or S.retry, F.not_before, now)
  redis.call('HDEL', key, F.token, F.lease_ends)
  if first then redis.call('HDEL', key, F.began_at) end
  local channel, known = f[3], known_of(ref)
  if known[10] then return controls.end_cancelled(ref) end
  wait(ref, known, 'u-' .. channel)
  redis.call('ZADD', 'dcb:line:u-' .. channel, known[2], ref)
  redis.call('ZADD', 'dcb:unconfigured', 'NX', now, channel)
  if limits_of(channel) then look_later('u-' .. channel, now + 5 * LOOK_SOON) end -- some other worker knows it
  return 'waits'
end

-- @verb give_up channel from limit -> {how many were ended, where to go on}
-- Those not sent yet of a channel that is not configured fail with 500. {-1, 0} where it is configured.
function verbs.give_up()
  local channel, from, limit = a.channel, tonumber(a.from), tonumber(a.limit)
  if limits_of(channel) then return {-1, 0} end
  local ended, refs = 0, redis.call('ZRANGE', 'dcb:open:' .. channel, from, from + limit - 1)
  for _, ref in ipairs(refs) do
    if still_waits(ref) then
      finish(ref, S.failed, '500', 'channel is not configured', 'Failed', 0)
      ended = ended + 1
    end
  end
  if #refs < limit then
    redis.call('DEL', 'dcb:line:u-' .. channel)
    redis.call('ZREM', 'dcb:unconfigured', channel)
    return {ended, -1}
  end
  return {ended, from + #refs - ended}
end

--
--   dcb:strays        channel -> the endpoint that named it          dcb:strays-named   channel -> ms when it was last named
--
-- Whoever may sign can name any number of them. Each costs every scrape and sweep something, so the oldest that wait
-- for nothing become one: what they counted is added to the channel "(unknown)".

local MOST_UNCONFIGURED = 200 -- that are known one by one
local UNCONFIGURED_AGE = 2592000000 -- ms since it was last named: 30 days
local UNCONFIGURED_REST = 60000 -- ms after which its messages are here
local FORGET_AT_ONCE = 50

local function forget_channel(channel)
  redis.call('HDEL', 'dcb:strays', channel)
  redis.call('ZREM', 'dcb:strays-named', channel)
end

local function add_to_unknown(channel)
  local counted = redis.call('HGETALL', 'dcb:books:' .. channel)
  for i = 1, #counted, 2 do redis.call('HINCRBY', 'dcb:books:(unknown)', counted[i], counted[i + 1]) end
  if #counted > 0 then redis.call('SADD', 'dcb:channels', '(unknown)') end
  redis.call('DEL', 'dcb:books:' .. channel)
  redis.call('SREM', 'dcb:channels', channel)
end

local function forget_unconfigured()
  if redis.call('HLEN', 'dcb:strays') > redis.call('ZCARD', 'dcb:strays-named') then -- an older version named them
    for _, channel in ipairs(redis.call('HKEYS', 'dcb:strays')) do
      redis.call('ZADD', 'dcb:strays-named', 'NX', now, channel)
    end
  end
  local too_many = redis.call('ZCARD', 'dcb:strays-named') - MOST_UNCONFIGURED
  local oldest = redis.call('ZRANGE', 'dcb:strays-named', 0, FORGET_AT_ONCE - 1, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    local channel, named = oldest[i], tonumber(oldest[i + 1])
    if named > now - ((i + 1) / 2 > too_many and UNCONFIGURED_AGE or UNCONFIGURED_REST) then return end
    if channel == '(unknown)' or redis.call('HEXISTS', 'dcb:limits', channel) == 1 then -- configured since
      forget_channel(channel)
    elseif redis.call('ZCARD', 'dcb:open:' .. channel) == 0 and redis.call('ZCARD', 'dcb:receipts:' .. channel) == 0 then
      add_to_unknown(channel)
      forget_channel(channel)
    else -- its receipts are signed as its endpoint signs; look at the others first
      redis.call('ZADD', 'dcb:strays-named', now, channel)
    end
  end
end

-- @verb unconfigured endpoint channel… -> ok
-- They were named at this endpoint.
function verbs.unconfigured()
  for i = each.from, #ARGV do
    redis.call('HSET', 'dcb:strays', each.channel, a.endpoint)
    redis.call('ZADD', 'dcb:strays-named', now, each.channel)
  end
  forget_unconfigured()
  return 'ok'
end
