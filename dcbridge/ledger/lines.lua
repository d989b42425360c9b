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
local AT_ONCE = 100 -- messages of all lines that one call dispatches
local FULL = 500 -- jobs in the queue; those who wait for no rate do not add to more
local EXPIRED = 200 -- messages that one call ends because their time is over

local finish -- messages.lua
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

-- ---------------------------------------------------------------- a claim

local function has_its_places(limits, ref, lease)
  for _, limit in ipairs(limits) do
    if limit.cap > 0 then
      local flight = 'dcb:flight:' .. limit.key
      redis.call('ZREMRANGEBYSCORE', flight, '-inf', now)
      if redis.call('ZCARD', flight) >= limit.cap and not redis.call('ZSCORE', flight, ref) then return false end
    end
  end
  for _, limit in ipairs(limits) do
    if limit.cap > 0 then redis.call('ZADD', 'dcb:flight:' .. limit.key, now + lease, ref) end
  end
  return true
end

-- nil when a claimed message may go; else why not, and it waits in a line. `q`: the line that it is in.
local function held_back(ref, known, q, lease)
  local stop = controls.stops(ref, known)
  if stop then
    stand_stopped(stop, ref, known, q)
    return 'paused'
  end
  local limits = limits_of(known[1])
  if limits and limits.via then
    local any
    limits, any = routes.take(ref, known, limits, true)
    if any then
      stand_in('r-' .. known[1], ref, known, now + LOOK_SOON)
      return 'parked'
    end
  elseif limits then
    known[7] = limits.provider
  end
  local slot = tonumber(known[6] or '0')
  local block = limits and blocked(limits.provider)
  if block and block.open then
    if not may_probe(limits.provider, ref) then
      park(limits.provider, ref, known)
      return 'parked'
    end
    redis.call('HSET', 'dcb:breaker:' .. limits.provider, 'probe', now + lease, 'ref', ref)
    redis.call('ZREM', 'dcb:parked:' .. limits.provider, ref)
    for _, limit in ipairs(limits) do
      full(limit, ref)
      book(limit, ref, lease)
    end
  elseif block then
    if q then redis.call('ZREM', 'dcb:parked:' .. limits.provider, ref) end
    stand_back(ref, known, limits, math.min(block.till, now + LOOK_SOON), block.stopped)
    return 'paused'
  elseif limits and slot > now then
    look_again('m:' .. ref, math.min(slot, look_at_latest(known)))
    return 'paced'
  elseif limits and slot > 0 then
    if not has_its_places(limits, ref, lease) then
      stand_back(ref, known, limits)
      return 'held'
    end
  elseif limits and (is_limited(limits[1]) or is_limited(limits[2])) then
    local why, look = pass(limits, ref, lease)
    if why then
      stand_back(ref, known, limits, look)
      return why
    end
  end
  if q or known[6] then stop_waiting(ref, known[1], q, nil) end
  return nil
end

-- ---------------------------------------------------------------- dispatch

-- What is known of the first of a line, if it still waits in it; one who does not is taken out.
local function look_at_first(key, ref)
  local line, member, known = 'dcb:line:' .. key, 'm:' .. ref, known_of(ref)
  local f = redis.call('HMGET', 'dcb:' .. member, F.state, F.line)
  if not f[2] or not (f[1] == S.accepted or f[1] == S.retry) then
    redis.call('ZREM', line, ref) -- it went by another way
    aside.unless_sound(member)
    return nil
  end
  check(known)
  local limits = known[1] and routes.limits(known[1], known[7])
  if is_over(known, ref) then
    expire(ref)
  elseif limits and not controls.stops(ref, known) and (key == own_line(limits) or key == limits[1].key) then
    return {known, limits, f[2]}
  else -- its channel has got other limits, or none, or another provider, or is stopped
    redis.call('ZREM', line, ref)
    if f[2] == key then line_up(ref, known) end
  end
  return nil
end

-- The first of a line that still waits in it.
local function first_of(key)
  local line = 'dcb:line:' .. key
  for _ = 1, AT_ONCE do
    local ref = redis.call('ZRANGE', line, 0, 0)[1]
    if not ref then
      redis.call('ZREM', 'dcb:lines', key)
      return nil
    end
    local sound, found = aside.try('m:' .. ref, look_at_first, key, ref)
    if found then return ref, unpack(found) end
    if not sound then redis.call('ZREM', line, ref) end
  end
  return nil
end

local function dispatch_message(ref, known, q)
  stop_waiting(ref, known[1], q, nil)
  redis.call('HSET', 'dcb:m:' .. ref, F.slot, now)
  wake('m:' .. ref, look_at_latest(known))
end

local function try_dispatch(ref, known, q)
  aside.try('m:' .. ref, dispatch_message, ref, known, q)
end

local function look_later(key, at)
  redis.call('ZADD', 'dcb:lines', at, key)
end

-- Out of where it waited, and on as any other. `q`: where it has to wait.
local function line_up_again(ref, q)
  if q and redis.call('HGET', 'dcb:m:' .. ref, F.line) ~= q then return end
  redis.call('HDEL', 'dcb:m:' .. ref, F.line)
  if still_waits(ref) then
    line_up(ref)
  else
    aside.unless_sound('m:' .. ref)
  end
end

-- Whether it may go through another provider than the one that it waits for; then it does.
function routes.go_another_way(key, ref)
  local known, q = known_of(ref), redis.call('HGET', 'dcb:m:' .. ref, F.line)
  local limits = q and known[1] and routes.limits(known[1], known[7])
  if not limits or not limits.via or routes.is_bound(known) or not routes.leaves(limits.provider, limits.via) then
    return false
  end
  redis.call('ZREM', 'dcb:line:' .. key, ref)
  redis.call('ZREM', 'dcb:line:' .. q, ref)
  line_up_again(ref, q)
  return true
end

-- Of a line whose provider may not be spoken to, those that need not wait for it. -> how many
function routes.leave_line(key, provider)
  if not limits_of('providers/' .. provider) then return 0 end -- no channel has it beside another
  local went = 0
  for _, ref in ipairs(redis.call('ZRANGE', 'dcb:line:' .. key, 0, 2 * AT_ONCE - 1)) do
    local _, gone = aside.try('m:' .. ref, routes.go_another_way, key, ref)
    if gone then went = went + 1 end
  end
  return went
end

-- A line whose provider may not be spoken to is looked at soon again, and gives an open breaker its probe. nil where it
-- may be; else how many have left the line for another provider.
local function stands_still(key, ref, known, limits)
  local block = blocked(limits.provider)
  if not block then return nil end
  local went = routes.leave_line(key, limits.provider)
  if went > 0 then
    look_later(key, now)
    return went
  end
  if block.open and redis.call('EXISTS', 'dcb:parked:' .. limits.provider) == 0 then
    stop_waiting(ref, known[1], redis.call('HGET', 'dcb:m:' .. ref, F.line), nil)
    park(limits.provider, ref, known)
  end
  look_later(key, block.open and now + LOOK_SOON or math.min(block.till, now + LOOK_SOON))
  return 0
end

-- -> how many went
local function advance_channel(key, most)
  for went = 0, most - 1 do
    local ref, known, limits, q = first_of(key)
    local still = not ref and 0 or stands_still(key, ref, known, limits)
    if still then return went + still end
    local why, look = full(limits[2], ref, true)
    if why then
      look_later(key, look)
      return went
    end
    if is_limited(limits[1]) then -- it has to stand in the line of its provider now
      redis.call('ZADD', 'dcb:line:' .. limits[1].key, place_of(known), ref)
      redis.call('ZADD', 'dcb:lines', 'NX', now, limits[1].key)
      look_later(key, now + REQUEUE)
      return went
    end
    book(limits[2], ref, RESERVED)
    try_dispatch(ref, known, q)
  end
  look_later(key, now)
  return most
end

local function advance_provider(key, most)
  local went = 0
  for _ = 1, most do
    local ref, known, limits, q = first_of(key)
    local still = not ref and 0 or stands_still(key, ref, known, limits)
    if still then return went + still end
    local why, look = full(limits[1], ref, true)
    if not why and not is_limited(limits[1]) and went >= math.max(10, FULL - redis.call('LLEN', 'rq:queue:outbound')) then
      why, look = 'queued', now + 1
    end
    if why then
      look_later(key, look)
      return went
    end
    local own = limits[2].key
    why, look = full(limits[2], ref, true)
    if why then
      redis.call('ZREM', 'dcb:line:' .. key, ref)
      if q ~= own then stand_in(own, ref, known, look) else look_later(own, look) end
    else
      book(limits[1], ref, RESERVED)
      book(limits[2], ref, RESERVED)
      try_dispatch(ref, known, q)
      went = went + 1
      if is_limited(limits[2]) then advance_channel(own, 1) end
    end
  end
  look_later(key, now)
  return went
end

-- Messages of a channel that is configured again.
local function advance_unconfigured(key, most)
  local channel, line = string.sub(key, 3), 'dcb:line:' .. key
  redis.call('ZREM', 'dcb:lines', key)
  if not limits_of(channel) then return 0 end
  local refs = redis.call('ZRANGE', line, 0, most - 1)
  for _, ref in ipairs(refs) do
    redis.call('ZREM', line, ref)
    aside.try('m:' .. ref, line_up_again, ref, key)
  end
  if redis.call('EXISTS', line) == 1 then
    look_later(key, now)
  else
    redis.call('ZREM', 'dcb:unconfigured', channel)
  end
  return #refs
end

-- Messages of a channel of whose providers none could be spoken to. An open breaker that is to be tried gets one of them.
function routes.advance(key, most)
  local channel, line = string.sub(key, 3), 'dcb:line:' .. key
  local own = limits_of(channel)
  if own and own.via and not routes.healthy(own.via) and redis.call('EXISTS', line) == 1 then
    local first = redis.call('ZRANGE', line, 0, 0)[1]
    for _, name in ipairs(own.via.order) do
      local probe = tonumber(redis.call('HGET', 'dcb:breaker:' .. name, 'probe'))
      if probe and probe <= now and redis.call('EXISTS', 'dcb:parked:' .. name) == 0 and not controls.of('p/' .. name) then
        redis.call('HSET', 'dcb:breaker:' .. name, 'probe', now + 2000, 'ref', first)
        aside.try('m:' .. first, wake, 'm:' .. first)
        break
      end
    end
    look_later(key, now + LOOK_SOON)
    return 0
  end
  local refs = redis.call('ZRANGE', line, 0, most - 1)
  for _, ref in ipairs(refs) do
    redis.call('ZREM', line, ref)
    aside.try('m:' .. ref, line_up_again, ref, key)
  end
  if redis.call('EXISTS', line) == 1 then look_later(key, now) else redis.call('ZREM', 'dcb:lines', key) end
  return #refs
end

local ADVANCE = {c = advance_channel, p = advance_provider, r = routes.advance, u = advance_unconfigured}

-- A line that this version does not know, or with a key of another type, must not keep the others waiting.
local function advance(key, most)
  local work = ADVANCE[string.match(key, '^(%l)%-')]
  if work then
    local typed, went = aside.unless_typed(work, key, most)
    if typed then return went end
  end
  look_later(key, now + (work and LOOK_LATE or LOOK_SOON)) -- a newer version may know it
  return 0
end

-- For the sweep: lines whose time has come. Those of channels first, since they may lead on into one of a provider.
-- -> how many went, 0 where nobody can at this moment
local function look_at_lines()
  local went = 0
  for _ = 1, 2 do
    local keys = redis.call('ZRANGEBYSCORE', 'dcb:lines', '-inf', now, 'LIMIT', 0, AT_ONCE)
    table.sort(keys)
    for _, key in ipairs(keys) do
      if went < AT_ONCE then went = went + advance(key, AT_ONCE - went) end
    end
  end
  return went
end

-- A job for a message that waits in the list of an older version: it is put into a line, and so goes on.
local function admit_next(hold)
  local member = redis.call('LPOP', hold)
  while member do
    redis.call('HDEL', 'dcb:' .. member, F.held_by)
    local f = redis.call('HMGET', 'dcb:' .. member, F.not_before, F.line)
    local waits = not f[2] and still_waits(string.sub(member, 3))
    if waits and tonumber(f[1] or '0') <= now then return ready(member) end
    member = redis.call('LPOP', hold)
  end
end

-- The request is over, however it ended: its place in flight goes to the next.
local function release_slot(ref, channel)
  local limits = routes.of(ref, channel)
  if not limits or limits[1].cap + limits[2].cap == 0 then return end
  for _, limit in ipairs(limits) do
    if limit.cap > 0 and redis.call('ZREM', 'dcb:flight:' .. limit.key, ref) == 1 then
      admit_next('dcb:hold:' .. limit.key)
    end
  end
  if is_limited(limits[2]) then advance_channel(limits[2].key, 2) end
  advance_provider(limits[1].key, 2)
end
