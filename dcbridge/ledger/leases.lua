-- ---------------------------------------------------------------- who holds a claim, and whether it is still alive
--
--   dcb:alive:<worker>     the watched time at which that worker last said so; "gone" after its release
--   dcb:watched            hash: at, ms of the last sweep; clock, the watched time in ms; lanes, how far the search of
--                          aside.lua has come
--
-- Watched time goes on while somebody sweeps and stands still while nobody does. Only in it a worker can be silent: a
-- Redis that hung lets nobody die, and workers that are all killed again and again are found all the same.
--
-- A claim's token is "<worker>.<random>". A living worker keeps its claim until the lease ends; that of one that is
-- silent ends at the next look. A token without a worker (the stock `rq worker`) has its lease alone.

local LOOK = 3000 -- ms between two looks at a claim
local REMEMBERED = 3600000 -- ms that a worker's last word is kept: longer than any lease
local silence_read = nil

local function owner_of(token)
  return string.match(token or '', '^([^.]+)%.') or ''
end

-- When a claim is first looked at.
local function first_look(token, lease)
  if owner_of(token) == '' then return now + lease end
  return now + math.min(lease, LOOK)
end

local function watched_time()
  return tonumber(redis.call('HGET', 'dcb:watched', 'clock') or '') or 0
end

-- A sweep was there; true where that is written down. A pause counts as a quarter of a silence at most, so that everyone has time to speak after it.
local function watch(silence)
  silence_read = silence
  local passed = now - (tonumber(redis.call('HGET', 'dcb:watched', 'at') or '') or 0)
  local most = silence / 4
  if passed >= 0 and passed < math.min(500, most) and clock.offset == clock.stored then return false end
  redis.call('HINCRBY', 'dcb:watched', 'clock', math.max(0, math.floor(math.min(passed, most))))
  redis.call('HSET', 'dcb:watched', 'at', now)
  clock.write(passed)
  return true
end

local function is_expired(worker)
  local key = 'dcb:alive:' .. worker
  local word = redis.call('GET', key)
  if not word then -- never heard of, or forgotten with the data: from now on it may be missed
    redis.call('SET', key, watched_time(), 'PX', REMEMBERED)
    return false
  end
  return word == 'gone' or watched_time() - (tonumber(word) or 0) >= silence_read
end

-- Is a claim that is due still somebody's? Then it is looked at again later.
local function still_held(member, token, lease_ends)
  local owner = owner_of(token)
  if owner == '' then return false end
  local ends = tonumber(lease_ends or '0')
  if ends <= now then return false end
  if is_expired(owner) then return false end
  redis.call('ZADD', 'dcb:due', math.min(ends, now + LOOK), member)
  return true
end

-- Said by a worker about itself, long before its silence would be noticed.
local function heartbeat(worker, silence)
  local key, time = 'dcb:alive:' .. worker, watched_time()
  local word = tonumber(redis.call('GET', key) or '')
  if not word or time - word >= silence / 4 then redis.call('SET', key, time, 'PX', REMEMBERED) end
end

-- Whether the store knows of a worker whose claim this is. One that came back empty, or older, does not, and its limits
-- may be gone with it: nobody sends before the worker has announced all of it again (`dcb:alive` comes last).
local heard_of = {}

local function is_announced(token)
  local owner = owner_of(token)
  if owner == '' then return true end
  if heard_of[owner] == nil then heard_of[owner] = redis.call('EXISTS', 'dcb:alive:' .. owner) == 1 end
  return heard_of[owner]
end

-- @verb heartbeat worker silence_ms -> ok
function verbs.heartbeat()
  heartbeat(a.worker, tonumber(a.silence_ms))
  return 'ok'
end

-- @verb release worker -> ok
-- What it still holds is looked at as a dead worker's.
function verbs.release()
  redis.call('SET', 'dcb:alive:' .. a.worker, 'gone', 'PX', REMEMBERED)
  return 'ok'
end
