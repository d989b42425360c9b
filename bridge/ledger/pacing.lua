-- ---------------------------------------------------------------- pacing: who may speak to a provider now
--
--   dcb:limits             channel -> "provider per_second burst in_flight per_second burst in_flight": the
--                          provider's, then the channel's own; 0 is no limit. " asked <name> <ms>" follows where
--                          it is to be remembered whose an id of the account is: the provider under whose name that
--                          is kept, and for how long. Written by workers at start.
--                          A subscriber of events is a channel and a provider named "subscribers/<name>".
--   dcb:tat:<key>          when the next message in turn may go (GCRA's theoretical arrival time), ms
--   dcb:flight:<key>       id -> ms when its lease ends, while its request is under way
--   dcb:hold:<key>         members that wait for a place in flight, in order
--   dcb:breaker:<provider> open since, why, next probe, wait before it, ref that probes; dcb:breakers their names
--   dcb:fails:<provider>   failures in a row
--   dcb:parked:<provider>  ref -> ms accepted, while the breaker is open
--
-- A message that may not go keeps its state and spends no attempt; it is looked at again when its time comes. A
-- delivery goes back to its subscriber's queue instead. <key> is "p-<provider>" or "c-<channel>"; "q-<provider>" of
-- questions.lua.

local limits_read = {} -- what one call has read already: a batch is mostly of few channels

local function read_limits(channel)
  local line = redis.call('HGET', 'dcb:limits', channel)
  if not line then return false end
  local w = {}
  for word in string.gmatch(line, '%S+') do w[#w + 1] = word end
  return {
    provider = w[1],
    keeper = w[8] == 'asked' and (w[9] or w[1]) or nil, -- one word alone: written by an older version
    known = tonumber(w[10]), -- nil: written by an older version
    {key = 'p-' .. w[1], rate = tonumber(w[2]), burst = tonumber(w[3]), cap = tonumber(w[4])},
    {key = 'c-' .. channel, rate = tonumber(w[5]), burst = tonumber(w[6]), cap = tonumber(w[7])},
  }
end

local function limits_of(channel)
  if limits_read[channel] == nil then limits_read[channel] = read_limits(channel) end
  return limits_read[channel] or nil
end

local function look_again(member, at)
  redis.call('HDEL', 'dcb:' .. member, 'qa')
  redis.call('ZADD', 'dcb:due', at, member)
end

-- The place in time that a message has been given is its own: it is asked for once.
local function slot_of(member, limits)
  local slot = tonumber(redis.call('HGET', 'dcb:' .. member, 'sl') or '0')
  if slot > 0 then return slot end
  for _, limit in ipairs(limits) do
    if limit.rate > 0 then
      local step = 1000 / limit.rate
      local arrival = math.max(tonumber(redis.call('GET', 'dcb:tat:' .. limit.key) or '0'), now) + step
      local keep = math.ceil(arrival - now + limit.burst * step) + 1000
      redis.call('SET', 'dcb:tat:' .. limit.key, string.format('%.3f', arrival), 'PX', keep)
      slot = math.max(slot, math.ceil(arrival - limit.burst * step))
    end
  end
  return slot
end

local turn_again, probe_of_turn -- subscribers.lua: a delivery goes back to its queue (false for another member); a probe

-- nil when it may go; else why not, and it will be looked at again.
local function must_wait(member, channel, accepted_at, expires, lease)
  local limits = limits_of(channel)
  if not limits then return turn_again(member, accepted_at) and 'no limits' or nil end
  local ref, provider = string.sub(member, 3), limits.provider
  local probe = false
  local breaker = redis.call('HMGET', 'dcb:breaker:' .. provider, 'probe', 'ref')
  if breaker[1] then
    local oldest = redis.call('ZRANGE', 'dcb:parked:' .. provider, 0, 0)[1]
    if breaker[2] ~= ref and (now < tonumber(breaker[1]) or (oldest and oldest ~= ref)) then
      if turn_again(member, accepted_at) then return 'parked' end
      redis.call('ZADD', 'dcb:parked:' .. provider, accepted_at, ref)
      look_again(member, expires)
      return 'parked'
    end
    probe = true
  end
  local silent = paused_till(provider)
  if silent > now then
    if turn_again(member, accepted_at) then return 'paused' end
    look_again(member, silent + math.random(0, 250))
    return 'paused'
  end
  local slot = slot_of(member, limits)
  if slot > now then
    redis.call('HSET', 'dcb:' .. member, 'sl', slot)
    look_again(member, slot)
    return 'paced'
  end
  for _, limit in ipairs(limits) do
    if limit.cap > 0 then
      local flight = 'dcb:flight:' .. limit.key
      redis.call('ZREMRANGEBYSCORE', flight, '-inf', now)
      if redis.call('ZCARD', flight) >= limit.cap and not redis.call('ZSCORE', flight, ref) then
        if turn_again(member, accepted_at) then return 'held' end
        if redis.call('HSETNX', 'dcb:' .. member, 'hd', 1) == 1 then
          redis.call('RPUSH', 'dcb:hold:' .. limit.key, member)
        end
        if slot > 0 then redis.call('HSET', 'dcb:' .. member, 'sl', slot) end
        look_again(member, now + REQUEUE)
        return 'held'
      end
    end
  end
  for _, limit in ipairs(limits) do
    if limit.cap > 0 then redis.call('ZADD', 'dcb:flight:' .. limit.key, now + lease, ref) end
  end
  redis.call('HDEL', 'dcb:' .. member, 'sl')
  if probe then
    redis.call('HSET', 'dcb:breaker:' .. provider, 'probe', now + lease, 'ref', ref)
    redis.call('ZREM', 'dcb:parked:' .. provider, ref)
  end
  return nil, probe
end

local function held_back(ref, channel, accepted_at, expires, lease)
  return (must_wait('m:' .. ref, channel, accepted_at, expires, lease))
end

local function still_waits(ref)
  local state = redis.call('HGET', 'dcb:m:' .. ref, 's')
  return state == 'accepted' or state == 'retry'
end

-- The first in the queue who still waits. A held one is looked at in between, and may have gone: a job for it would
-- move the moment at which it is looked at next, as when its grace is over, and waste the place.
local function let_in(hold)
  local member = redis.call('LPOP', hold)
  while member do
    redis.call('HDEL', 'dcb:' .. member, 'hd')
    local due = tonumber(redis.call('HGET', 'dcb:' .. member, 'nb') or '0') <= now
    if due and still_waits(string.sub(member, 3)) then return wake(member) end
    member = redis.call('LPOP', hold)
  end
end

-- The request is over, however it ended: its place in flight goes to the next.
local function landed(ref, channel)
  local limits = limits_of(channel)
  if not limits then return end
  for _, limit in ipairs(limits) do
    if limit.cap > 0 and redis.call('ZREM', 'dcb:flight:' .. limit.key, ref) == 1 then
      let_in('dcb:hold:' .. limit.key)
    end
  end
end

-- ---------------------------------------------------------------- the breaker of a provider's account

local function breaker_heals(provider)
  redis.call('DEL', 'dcb:fails:' .. provider)
  if redis.call('DEL', 'dcb:breaker:' .. provider) == 1 then
    redis.call('HINCRBY', 'dcb:counts', 'breaker_closed', 1)
  end
end

local function provider_took(channel)
  local limits = limits_of(channel)
  if not limits then return end
  local provider = limits.provider
  if redis.call('EXISTS', 'dcb:breaker:' .. provider, 'dcb:fails:' .. provider) > 0 then breaker_heals(provider) end
end

-- contact provider ref: the provider said something about this message, so its account works.
function verbs.contact()
  breaker_heals(ARGV[3])
  return 'ok'
end

-- limits (channel line)…: what the configuration says; channels that are gone lose their limits.
function verbs.limits()
  redis.call('DEL', 'dcb:limits')
  limits_read = {}
  for i = 3, #ARGV, 2 do redis.call('HSET', 'dcb:limits', ARGV[i], ARGV[i + 1]) end
  return (#ARGV - 2) / 2
end

-- trouble provider ref code at_once threshold first_ms most_ms -> "open", "opened" or "closed"
-- A fault of the account opens the breaker at once, unreachability after `threshold` failures in a row.
-- A failure while it is open doubles the wait before the next probe, if it was the probe's.
local function trouble(provider, ref, code, at_once, threshold, first, most)
  local key = 'dcb:breaker:' .. provider
  local f = redis.call('HMGET', key, 'wait', 'ref')
  if f[1] then
    if f[2] ~= ref then return 'open' end
    local pause = math.min(most, tonumber(f[1]) * 2)
    redis.call('HSET', key, 'wait', pause, 'probe', now + pause, 'why', code)
    redis.call('HDEL', key, 'ref')
    return 'open'
  end
  local fails = redis.call('INCR', 'dcb:fails:' .. provider)
  redis.call('PEXPIRE', 'dcb:fails:' .. provider, 600000)
  if not at_once and fails < threshold then return 'closed' end
  redis.call('HSET', key, 'since', now, 'why', code, 'wait', first, 'probe', now + first)
  redis.call('SADD', 'dcb:breakers', provider)
  redis.call('HINCRBY', 'dcb:counts', 'breaker_opened', 1)
  return 'opened'
end

function verbs.trouble()
  return trouble(ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1', tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]))
end

-- For the sweep: an open breaker whose time has come probes with its oldest message; a closed one lets its parked go.
local function look_at_breakers()
  for _, provider in ipairs(redis.call('SMEMBERS', 'dcb:breakers')) do
    local parked = 'dcb:parked:' .. provider
    local probe = redis.call('HGET', 'dcb:breaker:' .. provider, 'probe')
    if probe and string.find(provider, '/', 1, true) then
      if tonumber(probe) <= now then probe_of_turn(provider) end
    elseif probe then
      local oldest = redis.call('ZRANGE', parked, 0, 0)[1]
      if tonumber(probe) <= now and oldest then
        if still_waits(oldest) then
          redis.call('HSET', 'dcb:breaker:' .. provider, 'probe', now + 2000) -- one job for the probe, not one a sweep
          redis.call('HSET', 'dcb:breaker:' .. provider, 'ref', oldest)
          wake('m:' .. oldest)
        else
          redis.call('ZREM', parked, oldest)
        end
      end
    else
      for _, ref in ipairs(redis.call('ZRANGE', parked, 0, 199)) do
        redis.call('ZREM', parked, ref)
        if still_waits(ref) then wake('m:' .. ref) end
      end
      if redis.call('ZCARD', parked) == 0 then redis.call('SREM', 'dcb:breakers', provider) end
    end
  end
end
