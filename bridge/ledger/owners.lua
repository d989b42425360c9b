-- ---------------------------------------------------------------- who holds a claim, and whether it is still alive
--
--   dcb:alive:<worker>     there while the worker says so; a worker that is killed stops saying so
--   dcb:watched            ms of the last sweep; dcb:watched-since: ms since which sweeps have come without a pause
--
-- A claim's token is "<worker>.<random>". A living worker keeps its claim until the lease ends; that of one that is
-- silent ends at the next look. A token without a worker (the stock `rq worker`) has its lease alone.

local LOOK = 3000 -- ms between two looks at a claim
local silence_read = nil

local function owner_of(token)
  return string.match(token or '', '^([^.]+)%.') or ''
end

-- When a claim is first looked at.
local function first_look(token, lease)
  if owner_of(token) == '' then return now + lease end
  return now + math.min(lease, LOOK)
end

-- Silence counts only while somebody was there to hear: a Redis that hung, or that nobody swept, lets no worker die.
local function watch(silence)
  silence_read = silence
  local last = tonumber(redis.call('GET', 'dcb:watched') or '0')
  if now - last > 2000 then redis.call('SET', 'dcb:watched-since', now) end
  if now - last > 500 or now < last then redis.call('SET', 'dcb:watched', now) end
end

local function watched_long_enough()
  return now - tonumber(redis.call('GET', 'dcb:watched-since') or '0') >= (silence_read or 0)
end

-- Is a claim that is due still somebody's? Then it is looked at again later.
local function still_held(member, token, lease_ends)
  local owner = owner_of(token)
  if owner == '' then return false end
  local ends = tonumber(lease_ends or '0')
  if ends <= now then return false end
  if redis.call('EXISTS', 'dcb:alive:' .. owner) == 0 and watched_long_enough() then return false end
  redis.call('ZADD', 'dcb:due', math.min(ends, now + LOOK), member)
  return true
end

-- alive worker silence_ms: said by a worker about itself, long before its silence would be noticed.
local function say_alive(worker, silence)
  local key = 'dcb:alive:' .. worker
  if redis.call('PTTL', key) < silence * 0.75 then redis.call('SET', key, now, 'PX', silence) end
end

function verbs.alive()
  say_alive(ARGV[3], tonumber(ARGV[4]))
  return 'ok'
end

-- farewell worker: what it still holds is looked at as a dead worker's.
function verbs.farewell()
  return redis.call('DEL', 'dcb:alive:' .. ARGV[3])
end
