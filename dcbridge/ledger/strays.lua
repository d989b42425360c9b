-- ---------------------------------------------------------------- channels that are not configured
--
--   dcb:strays        channel -> the endpoint that named it          dcb:strays-named   channel -> ms when it was last named
--
-- Whoever may sign can name any number of them. Each costs every scrape and sweep something, so the oldest that wait
-- for nothing become one: what they counted is added to the channel "(unknown)".

local STRAYS = 200 -- that are known one by one
local STRAY_AGE = 2592000000 -- ms since it was last named: 30 days
local STRAY_REST = 60000 -- ms after which its messages are surely here
local STRAYS_AT_ONCE = 50

local function forget_stray(channel)
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

local function forget_strays()
  if redis.call('HLEN', 'dcb:strays') > redis.call('ZCARD', 'dcb:strays-named') then -- an older version named them
    for _, channel in ipairs(redis.call('HKEYS', 'dcb:strays')) do
      redis.call('ZADD', 'dcb:strays-named', 'NX', now, channel)
    end
  end
  local too_many = redis.call('ZCARD', 'dcb:strays-named') - STRAYS
  local oldest = redis.call('ZRANGE', 'dcb:strays-named', 0, STRAYS_AT_ONCE - 1, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    local channel, named = oldest[i], tonumber(oldest[i + 1])
    if named > now - ((i + 1) / 2 > too_many and STRAY_AGE or STRAY_REST) then return end
    if channel == '(unknown)' or redis.call('HEXISTS', 'dcb:limits', channel) == 1 then -- configured since
      forget_stray(channel)
    elseif redis.call('ZCARD', 'dcb:open:' .. channel) == 0 and redis.call('ZCARD', 'dcb:receipts:' .. channel) == 0 then
      add_to_unknown(channel)
      forget_stray(channel)
    else -- its receipts are signed as its endpoint signs; look at the others first
      redis.call('ZADD', 'dcb:strays-named', now, channel)
    end
  end
end

-- strays endpoint channel…: they were named at this endpoint
function verbs.strays()
  for i = 4, #ARGV do
    redis.call('HSET', 'dcb:strays', ARGV[i], ARGV[3])
    redis.call('ZADD', 'dcb:strays-named', now, ARGV[i])
  end
  forget_strays()
  return 'ok'
end

