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

-- @verb limits worker (channel line)… -> count
-- What a worker's configuration says of some channels.
function verbs.limits()
  for _, key in ipairs({'dcb:limits', 'dcb:limits-named'}) do -- of another type: whatever it was, it is no use
    if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
  end
  for i = each.from, #ARGV, each.size do
    redis.call('HSET', 'dcb:limits', each.channel, each.line)
    if not still_names(redis.call('HGET', 'dcb:limits-named', each.channel)) then
      redis.call('HSET', 'dcb:limits-named', each.channel, a.worker)
    end
    limits_read[each.channel] = nil
  end
  for _, key in ipairs(redis.call('ZRANGE', 'dcb:lines', 0, -1)) do redis.call('ZADD', 'dcb:lines', now, key) end
  for _, channel in ipairs(redis.call('ZRANGE', 'dcb:unconfigured', 0, -1)) do
    redis.call('ZADD', 'dcb:lines', now, 'u-' .. channel) -- it may be back
  end
  return (#ARGV + 1 - each.from) / each.size
end

-- @verb limits_unnamed worker channel… -> ok
-- Lines that are there, and in none of what this worker has just announced.
function verbs.limits_unnamed()
  for i = each.from, #ARGV do
    local worker = redis.call('HGET', 'dcb:limits-named', each.channel)
    if worker == a.worker or not still_names(worker) then
      redis.call('HDEL', 'dcb:limits', each.channel)
      redis.call('HDEL', 'dcb:limits-named', each.channel)
      limits_read[each.channel] = nil
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

-- @verb layout number -> number
-- -> what the store had. It is raised to this one where it was lower, or there was none.
function verbs.layout()
  local known, ours = tonumber(redis.call('GET', 'dcb:layout')) or 1, tonumber(a.number)
  for older = known, ours - 1 do MIGRATIONS[older]() end
  if known < ours then redis.call('SET', 'dcb:layout', ours) end
  return known
end
