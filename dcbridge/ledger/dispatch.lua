-- ---------------------------------------------------------------- dispatch: whose turn it is in a line

local AT_ONCE = 100 -- messages of all lines that one call dispatches

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

function look_later(key, at)
  redis.call('ZADD', 'dcb:lines', at, key)
end

-- Out of where it waited, and on as any other. `q`: where it has to wait.
function line_up_again(ref, q)
  if q then
    redis.call('ZREM', 'dcb:line:' .. q, ref)
    if redis.call('HGET', 'dcb:m:' .. ref, F.line) ~= q then return end
  end
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

-- The first of a line go on, each by `go`. -> how many
local function empty_line(key, most, go)
  local line = 'dcb:line:' .. key
  local refs = redis.call('ZRANGE', line, 0, most - 1)
  for _, ref in ipairs(refs) do
    if not aside.try('m:' .. ref, go, ref, key) then redis.call('ZREM', line, ref) end
  end
  if redis.call('EXISTS', line) == 1 then look_later(key, now) else redis.call('ZREM', 'dcb:lines', key) end
  return #refs
end

-- The same where they wait for no rate: they do not add to a queue that is full, since others come at every hour.
function let_all_go(key, most, go)
  local room = math.min(most, FULL - redis.call('LLEN', 'rq:queue:outbound'))
  if room > 0 then return empty_line(key, room, go) end
  look_later(key, now + 1)
  return 0
end

-- Messages of a channel that is configured again.
local function advance_unconfigured(key, most)
  local channel = string.sub(key, 3)
  if not limits_of(channel) then
    redis.call('ZREM', 'dcb:lines', key)
    return 0
  end
  local went = empty_line(key, most, line_up_again)
  if redis.call('EXISTS', 'dcb:line:' .. key) == 0 then redis.call('ZREM', 'dcb:unconfigured', channel) end
  return went
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
  return empty_line(key, most, line_up_again)
end

-- Messages that wait for an operator (controls.lua).
function ADVANCE.k(key, most)
  local control = controls.of(string.sub(key, 3))
  if not control then return let_all_go(key, most, line_up_again) end
  look_later(key, math.min(control.till or now + LOOK_LATE, now + LOOK_LATE))
  return 0
end

ADVANCE.c, ADVANCE.p, ADVANCE.r, ADVANCE.u = advance_channel, advance_provider, routes.advance, advance_unconfigured

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
function look_at_lines()
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
function release_slot(ref, channel)
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
