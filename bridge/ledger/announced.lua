-- ---------------------------------------------------------------- what workers announce: the limits, and to which store
--
--   dcb:limits             as in pacing.lua        dcb:limits-named   channel -> ms when a worker last named it
--   dcb:store              "<name> <ms>": the name that this store was given, and when it was first swept
--
-- Workers announce the limits at their start, every ten minutes, and whenever the store does not know them. One line
-- replaces another; a channel that no worker has named for an hour has been taken out of every configuration.

local UNNAMED = 3600000 -- ms

-- limits (channel line)…: what a worker's configuration says of some channels.
function verbs.limits()
  if redis.call('TYPE', 'dcb:limits').ok ~= 'hash' then redis.call('DEL', 'dcb:limits') end
  for i = 3, #ARGV, 2 do
    redis.call('HSET', 'dcb:limits', ARGV[i], ARGV[i + 1])
    redis.call('ZADD', 'dcb:limits-named', now, ARGV[i])
    limits_read[ARGV[i]] = nil
  end
  for _, key in ipairs(redis.call('ZRANGE', 'dcb:lines', 0, -1)) do redis.call('ZADD', 'dcb:lines', now, key) end
  for _, channel in ipairs(redis.call('ZRANGE', 'dcb:unconfigured', 0, -1)) do
    redis.call('ZADD', 'dcb:lines', now, 'u-' .. channel) -- it may be back
  end
  return (#ARGV - 2) / 2
end

-- limits_unnamed channel…: lines that are there, and in none of what a worker has just announced.
function verbs.limits_unnamed()
  for i = 3, #ARGV do
    if redis.call('HEXISTS', 'dcb:limits', ARGV[i]) == 1 then redis.call('ZADD', 'dcb:limits-named', 'NX', now, ARGV[i]) end
  end
  return 'ok'
end

local function forget_limits()
  for _, channel in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:limits-named', '-inf', now - UNNAMED, 'LIMIT', 0, 100)) do
    redis.call('HDEL', 'dcb:limits', channel)
    redis.call('ZREM', 'dcb:limits-named', channel)
  end
end

local function store_name(name)
  local known = redis.call('GET', 'dcb:store')
  if known or name == '' then return known or '' end
  redis.call('SET', 'dcb:store', name .. ' ' .. now)
  return name .. ' ' .. now
end
