-- ---------------------------------------------------------------- pacing: who may speak to a provider now
--
--   dcb:limits             channel -> "provider per_second burst in_flight per_second burst in_flight": the
--                          provider's, then the channel's own; 0 is no limit. " asked <name> <ms>" follows where
--                          it is to be remembered whose an id of the account is: the provider under whose name that
--                          is kept, and for how long. Written by workers at start.
--                          Behind that: routes.lua, or " pool" of a channel with several numbers. A subscriber of events is a channel and a provider named
--                          "subscribers/<name>".
--   dcb:tat:<key>          when the next message in turn may go (GCRA's theoretical arrival time), ms
--   dcb:flight:<key>       id -> ms when its lease ends, while its request is under way
--
-- <key> is "p-<provider>" or "c-<channel>"; "q-<provider>" of lookups.lua. Where those wait that may not go is said in
-- lines.lua, for a subscriber's deliveries in subscribers.lua, and behind an open breaker in breaker.lua.

local limits_read = {} -- what one call has read already: a batch is mostly of few channels

local function read_limits(channel)
  local line = redis.call('HGET', 'dcb:limits', channel)
  if not line then return false end
  local w = {}
  for word in string.gmatch(line, '%S+') do w[#w + 1] = word end
  for i = 2, 7 do
    if not tonumber(w[i]) then return false end -- damaged: as if nobody had announced it, until a worker does again
  end
  local at, via, slow = w[8] == 'asked' and 11 or 8, nil, nil
  if w[at] == 'via' and tonumber(w[at + 1]) and tonumber(w[at + 2]) and w[at + 4] then
    via = {after = tonumber(w[at + 1]), stay = w[at + 2], on = {}, order = {}, names = {}}
    for letter in string.gmatch(w[at + 3], '%l') do via.on[letter] = true end
    for i = at + 4, #w do
      via.order[#via.order + 1], via.names[w[i]] = w[i], true
    end
  elseif w[at] == 'slow' and tonumber(w[at + 4]) then
    slow = {after = tonumber(w[at + 1]), share = tonumber(w[at + 2]), back = tonumber(w[at + 3]), messages = tonumber(w[at + 4])}
  end
  return {
    provider = w[1],
    via = via, -- nil: it has no choice
    pool = w[at] == 'pool' or (via and string.find(w[at + 3], 'P', 1, true)) or nil, -- it has several numbers
    slow = slow,
    keeper = w[8] == 'asked' and (w[9] or w[1]) or nil, -- one word alone: written by an older version
    known = tonumber(w[10]), -- nil: written by an older version
    {key = 'p-' .. w[1], rate = tonumber(w[2]), burst = tonumber(w[3]), cap = tonumber(w[4])},
    {key = 'c-' .. string.gsub(channel, '^own/', ''), rate = tonumber(w[5]), burst = tonumber(w[6]), cap = tonumber(w[7])},
  }
end

local function limits_of(channel)
  if limits_read[channel] == nil then limits_read[channel] = read_limits(channel) end
  return limits_read[channel] or nil
end

local function look_again(member, at)
  redis.call('HDEL', 'dcb:' .. member, F.queued_at)
  redis.call('ZADD', 'dcb:due', at, member)
end

-- The place in time that a message has been given is its own: it is asked for once.
local function slot_of(member, limits)
  local slot = tonumber(redis.call('HGET', 'dcb:' .. member, F.slot)) or 0
  if slot > 0 then return slot end
  for _, limit in ipairs(limits) do
    if limit.rate > 0 then
      local step = 1000 / limit.rate
      local arrival = math.max(tonumber(redis.call('GET', 'dcb:tat:' .. limit.key)) or 0, now) + step
      local keep = math.ceil(arrival - now + limit.burst * step) + 1000
      redis.call('SET', 'dcb:tat:' .. limit.key, string.format('%.3f', arrival), 'PX', keep)
      slot = math.max(slot, math.ceil(arrival - limit.burst * step))
    end
  end
  return slot
end

local SLACK = 1000 -- ms whose places in time are still there when nobody looked at a line

local function is_limited(limit)
  return limit.rate > 0 or limit.cap > 0
end

-- nil where a limit lets one more go; else why not, and when to look again. `behind`: somebody has waited for it.
local function full(limit, ref, behind)
  if limit.rate > 0 then
    local step = 1000 / limit.rate
    local arrival = tonumber(redis.call('GET', 'dcb:tat:' .. limit.key)) or 0
    limit.arrival = math.max(arrival, now - (behind and SLACK or 0)) + step
    local slot = math.ceil(limit.arrival - limit.burst * step)
    if slot > now then return 'paced', slot end
  end
  if limit.cap > 0 then
    local flight = 'dcb:flight:' .. limit.key
    redis.call('ZREMRANGEBYSCORE', flight, '-inf', now)
    if redis.call('ZCARD', flight) >= limit.cap and not redis.call('ZSCORE', flight, ref) then
      return 'held', math.min(now + REQUEUE, tonumber(redis.call('ZRANGE', flight, 0, 0, 'WITHSCORES')[2]))
    end
  end
  return nil
end

-- What `full` has just allowed is this message's.
local function book(limit, ref, lease)
  if limit.rate > 0 then
    local keep = math.ceil(limit.arrival - now + limit.burst * 1000 / limit.rate) + 1000
    redis.call('SET', 'dcb:tat:' .. limit.key, string.format('%.3f', limit.arrival), 'PX', math.max(1, keep))
  end
  if limit.cap > 0 then redis.call('ZADD', 'dcb:flight:' .. limit.key, now + lease, ref) end
end

local probe_of_turn -- subscribers.lua: the probe of a subscriber

local function still_waits(ref)
  local state = redis.pcall('HGET', 'dcb:m:' .. ref, F.state)
  return state == S.accepted or state == S.retry
end
