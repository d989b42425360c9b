-- ---------------------------------------------------------------- which channels owe receipts, and since when
--
--   dcb:receipts:<channel> ref -> ms due            dcb:owed    channel -> ms when the first of them is due, or earlier
--   dcb:receipts-woken:<channel>   ms when a job for them was queued
--   dcb:refusing           "r/<channel>" or "c/<channel>" -> "<ms of the first> <ms of the last> <requests> <code of the last>":
--                          receipts, and consumers' messages, that the platform does not take; until it takes one
--
-- A sweep looks at the channels that are due, not at all that exist. One that an older version has written to is found
-- by a walk over all channels, a few in each sweep.

local WALK = 40 -- channels of the walk that a sweep looks at
local MOST_REFUSING = 1000 -- channels, twice
local REFUSED_FOR = 86400000 -- ms after the last one of all that they are remembered

-- `what`: r or c. What the platform answered about this channel was no good. It decides nothing, so an error stops nothing.
function owed.refused(what, channel, code)
  local field = what .. '/' .. channel
  local was = redis.pcall('HGET', 'dcb:refusing', field)
  if type(was) == 'table' then return end
  if not was and redis.call('HLEN', 'dcb:refusing') >= 2 * MOST_REFUSING then return end
  local since, count = string.match(was or '', '^(%d+) %d+ (%d+) ')
  redis.call('HSET', 'dcb:refusing', field,
    string.format('%.0f %.0f %d %s', tonumber(since) or now, now, (tonumber(count) or 0) + 1, string.sub(code, 1, 60)))
  redis.call('PEXPIRE', 'dcb:refusing', REFUSED_FOR)
end

function owed.taken(what, channel)
  redis.pcall('HDEL', 'dcb:refusing', what .. '/' .. channel)
end

function owed.wake(channel)
  local key = 'dcb:receipts-woken:' .. channel
  local woken = tonumber(redis.call('GET', key) or '')
  if woken and woken <= now and now - woken < REQUEUE then return end
  redis.call('SET', key, now, 'PX', REQUEUE)
  local n = redis.call('HINCRBY', 'dcb:counts', 'receipt_jobs', 1)
  queue_job('receipts', 'receipts-' .. n .. '-' .. now, channel)
end

function owed.is_due(channel, at)
  redis.call('ZADD', 'dcb:owed', 'LT', at, channel)
end

function owed.put(ref, channel)
  redis.call('ZADD', 'dcb:receipts:' .. channel, now, ref)
  redis.call('SADD', 'dcb:channels', channel)
  owed.is_due(channel, now)
  owed.wake(channel)
end

-- Whatever is due gets its job, and the channel is looked at again when its next receipt is due.
function owed.look_at(channel)
  local first = redis.call('ZRANGE', 'dcb:receipts:' .. channel, 0, 0, 'WITHSCORES')
  if not first[1] then
    redis.call('ZREM', 'dcb:owed', channel)
  elseif tonumber(first[2]) <= now then
    redis.call('ZADD', 'dcb:owed', now, channel)
    owed.wake(channel)
  else
    redis.call('ZADD', 'dcb:owed', first[2], channel)
  end
end

-- One whose key is of another type must not keep the others waiting.
function owed.try(channel)
  local ok, problem = pcall(owed.look_at, channel)
  if ok then return end
  if redis.call('TYPE', 'dcb:receipts:' .. channel).ok == 'zset' then error(problem, 0) end
  redis.call('ZADD', 'dcb:owed', now + 60000, channel)
end

function owed.sweep()
  for _, channel in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:owed', '-inf', now, 'LIMIT', 0, 500)) do owed.try(channel) end
end

function owed.walk()
  local cursor = redis.call('HGET', 'dcb:watched', 'walk') or '0'
  local page = redis.call('SSCAN', 'dcb:channels', cursor, 'COUNT', WALK)
  for _, channel in ipairs(page[2]) do
    local due = redis.pcall('ZCOUNT', 'dcb:receipts:' .. channel, '-inf', now)
    if type(due) == 'number' and due > 0 then owed.try(channel) end
  end
  if page[1] ~= cursor then redis.call('HSET', 'dcb:watched', 'walk', page[1]) end
end
