-- ---------------------------------------------------------------- lines: where a message waits that may not go now
--
--   dcb:line:<key>   ref -> its place: ms when it was accepted, later for one that has been tried
--   dcb:lines        <key> -> ms when to look at that line
--                    (r-<channel>: those of a channel with several providers none of which may be spoken to)
--   dcb:unconfigured channel -> since when messages wait for it that no worker is configured for
--
-- <key> is "c-<channel>" for a channel with limits of its own, "p-<provider>" for a provider with limits or one that
-- asked for silence, and "u-<channel>" for a channel that is not configured. The first of a channel's line stands in the
-- line of its provider as well while that is what it waits for, so that the oldest of all its channels goes first.
-- "n-…" and "w-…" are of quiet.lua, "k-…" of controls.lua.
--
-- An entry holds the `line` it waits in ("b-<provider>": the parked ones of an open breaker), and as its `slot` when it
-- was dispatched. Who waits has no job, and is due when its time to live ends: waiting costs nothing, however many do. Who is
-- dispatched has booked its place in time and in flight, and a job.
--
-- `known` of a message: {channel, ms accepted, ms when its time to live ends, attempts, part, slot}; and for routes.lua
-- {…, provider, unknown requests, lane}, and ms when it was cancelled.

local LOOK_SOON = 1000
local LOOK_LATE = 60000
local FAR = 3600000 -- ms until the next look at one that has no time to live any more: a part of it is sent
local FULL = 500 -- jobs in the queue; those who wait for no rate do not add to more
local EXPIRED = 200 -- messages that one call ends because their time is over

local finish -- outcomes.lua
local look_later, line_up_again, let_all_go, look_at_lines, release_slot -- dispatch.lua
local ADVANCE = {} -- the first letter of a line's key -> how those in it go on, at most so many; -> how many did
local stood = 0

local function known_of(ref)
  return redis.call('HMGET', 'dcb:m:' .. ref, F.channel_id, F.accepted_at, F.expires_at, F.attempts, F.part, F.slot, F.provider,
    F.unknown_requests, F.lane, F.cancelled)
end

local function is_over(known, ref)
  return known[5] == '0' and tonumber(known[3] or '0') <= now and controls.ends_at(ref, known) <= now
end

-- What is reckoned with of a message in a line.
local function check(known)
  for i = 2, 5 do
    if not aside.is_number(known[i]) then error('a field is no number', 0) end
  end
end

local function look_at_latest(known)
  return known[5] == '0' and tonumber(known[3]) or now + FAR
end

local function expire(ref)
  finish(ref, S.failed, '305', redis.call('HGET', 'dcb:m:' .. ref, F.last_code) or '', 'Failed', 0)
end

-- ---------------------------------------------------------------- into a line, and out of it

local function stop_waiting(ref, channel, q, sl)
  redis.call('HDEL', 'dcb:m:' .. ref, F.line, F.slot, F.held_by)
  if sl then give_places_back(ref, channel) end
  if not q then return end
  local kind, name = string.sub(q, 1, 2), string.sub(q, 3)
  if kind == 'b-' then redis.call('ZREM', 'dcb:parked:' .. name, ref) return end
  redis.call('ZREM', 'dcb:line:' .. q, ref)
  local limits = kind == 'c-' and routes.of(ref, channel)
  if limits then redis.call('ZREM', 'dcb:line:' .. limits[1].key, ref) end
end

local function wait(ref, known, q)
  redis.call('HSET', 'dcb:m:' .. ref, F.line, q)
  redis.call('HDEL', 'dcb:m:' .. ref, F.queued_at, F.slot, F.held_by)
  if known[6] then give_places_back(ref, known[1]) end
  redis.call('ZADD', 'dcb:due', look_at_latest(known), 'm:' .. ref)
end

-- One that has been tried stands behind the first attempts of the next minute, for each time that it was. Those that
-- one call brings keep their order.
local function place_of(known)
  stood = stood + 1
  return tonumber(known[2]) + tonumber(known[4] or '0') * RETRIES_WAIT + stood / 1024
end

local function stand_in(key, ref, known, look)
  wait(ref, known, key)
  redis.call('ZADD', 'dcb:line:' .. key, place_of(known), ref)
  redis.call('ZADD', 'dcb:lines', 'NX', look, key)
end

local function park(provider, ref, known)
  wait(ref, known, 'b-' .. provider)
  redis.call('ZADD', 'dcb:parked:' .. provider, known[2], ref)
  redis.call('SADD', 'dcb:breakers', provider)
end

local function is_first(key, ref)
  local first = redis.call('ZRANGE', 'dcb:line:' .. key, 0, 0)[1]
  return not first or first == ref
end

-- Whether a message may go past the limits of its channel and its provider now, and nobody waits for them before it;
-- then it has booked its place. Else why not, and when to look at its line.
local function pass(limits, ref, lease)
  for _, limit in ipairs(limits) do
    if is_limited(limit) and not is_first(limit.key, ref) then return full(limit, ref) or 'paced', nil end
  end
  for _, limit in ipairs(limits) do
    local why, look = full(limit, ref)
    if why then return why, look end
  end
  for _, limit in ipairs(limits) do book(limit, ref, lease) end
  return nil
end

local function own_line(limits)
  return is_limited(limits[2]) and limits[2].key or limits[1].key
end

-- Into the line of the limits that hold it. The first of a channel may have to go on into the line of the provider.
local function stand_back(ref, known, limits, look, stopped)
  if stopped then controls.begin_anew(ref) end
  if is_limited(limits[1]) and is_limited(limits[2]) then look = now end
  stand_in(own_line(limits), ref, known, look or now)
end

-- Into the line of what an operator has stopped. `q`: the line that it is in.
local function stand_stopped(what, ref, known, q)
  controls.begin_anew(ref)
  if q then stop_waiting(ref, known[1], q, nil) end
  note('dcb:m:' .. ref, 'stopped', what)
  stand_in('k-' .. what, ref, known, now + LOOK_SOON)
end

-- Whoever may go gets a job, and whoever may not its place in a line.
local function line_up(ref, known)
  known = known or known_of(ref)
  if not known[3] then return wake('m:' .. ref) end
  if known[10] then return controls.end_cancelled(ref) end
  if is_over(known, ref) then return redis.call('ZADD', 'dcb:due', known[3], 'm:' .. ref) end
  local stop = controls.stops(ref, known)
  if stop then return stand_stopped(stop, ref, known) end
  local channel, slot, latest = known[1], tonumber(known[6] or '0'), look_at_latest(known)
  local limits = limits_of(channel)
  if not limits then
    if redis.call('EXISTS', 'dcb:line:u-' .. channel) == 1 then
      wait(ref, known, 'u-' .. channel)
      return redis.call('ZADD', 'dcb:line:u-' .. channel, known[2], ref)
    end
    return wake('m:' .. ref, latest)
  end
  if limits.via then
    local any
    limits, any = routes.take(ref, known, limits)
    if any then return stand_in('r-' .. channel, ref, known, now + LOOK_SOON) end
    slot = tonumber(known[6] or '0')
  end
  local block = blocked(limits.provider)
  if block and block.open then return park(limits.provider, ref, known) end
  if block then return stand_back(ref, known, limits, math.min(block.till, now + LOOK_SOON), block.stopped) end
  if slot > now then return look_again('m:' .. ref, math.min(slot, latest)) end -- booked by an older version
  if slot == 0 and (is_limited(limits[1]) or is_limited(limits[2])) then
    local why, look = pass(limits, ref, RESERVED)
    if why then return stand_back(ref, known, limits, look) end
    redis.call('HSET', 'dcb:m:' .. ref, F.slot, now)
  end
  wake('m:' .. ref, latest)
end

local ready_task = ready

ready = function(member, known)
  if string.sub(member, 1, 2) == 'm:' then return line_up(string.sub(member, 3), known) end
  return ready_task(member)
end
