-- ---------------------------------------------------------------- what workers announce: the limits, and to which store
--
--   dcb:limits             as in pacing.lua        dcb:limits-named   channel -> a living worker that names it
--   dcb:layout             number of the layout (layout.py)
--   dcb:store              "<name> <ms>": the name that this store was given, and when it was first swept
--
-- Workers announce the limits at their start, every ten minutes, and whenever the store does not know them. One line
-- replaces another. A channel that is not named loses its line, unless a living worker has named it: while two
-- configurations run beside each other, the older one must not take away the pace of a channel that is new.

local NAMES_FOR = 60000 -- ms of the watched time for which a worker that says nothing still names its channels
local names = {}

local function still_names(worker)
  if not worker or worker == '' then return false end
  if names[worker] == nil then
    local word = tonumber(redis.call('GET', 'dcb:alive:' .. worker) or '')
    names[worker] = word ~= nil and watched_time() - word < NAMES_FOR
  end
  return names[worker]
end

-- limits worker (channel line)…: what a worker's configuration says of some channels.
function verbs.limits()
  for _, key in ipairs({'dcb:limits', 'dcb:limits-named'}) do -- of another type: whatever it was, it is no use
    if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
  end
  for i = 4, #ARGV, 2 do
    redis.call('HSET', 'dcb:limits', ARGV[i], ARGV[i + 1])
    if not still_names(redis.call('HGET', 'dcb:limits-named', ARGV[i])) then
      redis.call('HSET', 'dcb:limits-named', ARGV[i], ARGV[3])
    end
    limits_read[ARGV[i]] = nil
  end
  for _, key in ipairs(redis.call('ZRANGE', 'dcb:lines', 0, -1)) do redis.call('ZADD', 'dcb:lines', now, key) end
  for _, channel in ipairs(redis.call('ZRANGE', 'dcb:unconfigured', 0, -1)) do
    redis.call('ZADD', 'dcb:lines', now, 'u-' .. channel) -- it may be back
  end
  return (#ARGV - 3) / 2
end

-- limits_unnamed worker channel…: lines that are there, and in none of what this worker has just announced.
function verbs.limits_unnamed()
  for i = 4, #ARGV do
    local worker = redis.call('HGET', 'dcb:limits-named', ARGV[i])
    if worker == ARGV[3] or not still_names(worker) then
      redis.call('HDEL', 'dcb:limits', ARGV[i])
      redis.call('HDEL', 'dcb:limits-named', ARGV[i])
      limits_read[ARGV[i]] = nil
    end
  end
  for _, key in ipairs(redis.call('ZRANGE', 'dcb:lines', 0, -1)) do redis.call('ZADD', 'dcb:lines', now, key) end
  return 'ok'
end

local function store_name(name)
  local known = redis.call('GET', 'dcb:store')
  if known or name == '' then return known or '' end
  redis.call('SET', 'dcb:store', name .. ' ' .. now)
  return name .. ' ' .. now
end

-- What leads from a layout to the next. Processes of the older one may go on meanwhile, and each may run twice.
local MIGRATIONS = {
  [1] = function() -- those in the lists of 0.1.0 go into lines when they are looked at, and nobody reads the lists any more
    local line = redis.call('HGETALL', 'dcb:limits')
    for i = 1, #line, 2 do
      for _, hold in ipairs({'dcb:hold:c-' .. line[i], 'dcb:hold:p-' .. string.match(line[i + 1], '^%S*')}) do
        for _, member in ipairs(redis.call('LRANGE', hold, 0, -1)) do redis.call('ZADD', 'dcb:due', 'XX', now, member) end
        redis.call('DEL', hold)
      end
    end
  end,
}

-- layout number -> what the store had; it is raised to this one where it was lower, or there was none
function verbs.layout()
  local known, ours = tonumber(redis.call('GET', 'dcb:layout')) or 1, tonumber(ARGV[3])
  for older = known, ours - 1 do MIGRATIONS[older]() end
  if known < ours then redis.call('SET', 'dcb:layout', ours) end
  return known
end
