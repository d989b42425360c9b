-- ---------------------------------------------------------------- routes: through which of its providers a message goes
--
--   dcb:limits             a channel with several has " via <ms> <ms> <letters> <provider>…" at the end of its line: how long
--                          a provider may ask to wait, for how long a conversation stays with one, what one is left for (the
--                          first letters of routing.py's words), and the providers in their order; and each of these has a
--                          line "providers/<provider>", which ends in " slow <ms> <share> <share> <messages>"
--   dcb:sticky:<lane>      the provider of the last exchange of a conversation
--   dcb:sender:<lane>      of a channel with several numbers the mark of one (senders.py): "w" of that which the consumer wrote
--                          to, "s" of that which was sent from
--   dcb:steer:<provider>   what an operator wants: how (drain or prefer), until, at, by, why
--   dcb:with:<provider>/<channel>   ref -> ms accepted, of those in the provider's books that have not ended
--   dcb:books:<channel>    has "<provider>|<state>" as well
--
-- An entry holds its `provider`, `provider_why`, and of a channel with several: `booked_by`, in whose books it is since it was
-- claimed, `left_providers`, and `chosen_for`, the attempt for which a process that knows of all this has chosen.
--
-- `known` of a message as in lines.lua, and then: {…, provider, unknown requests, lane}.

local routes = {read = {}}

-- A block of limits for one channel through one of its providers.
function routes.limits(channel, provider)
  local own = limits_of(channel)
  if not own or not own.via or not provider or own.provider == provider then return own end
  local name = channel .. ' ' .. provider
  if limits_read[name] == nil then
    local account = limits_of('providers/' .. provider)
    limits_read[name] = account
      and {provider = provider, keeper = account.keeper, known = account.known, via = own.via, account[1], own[2]} or false
  end
  return limits_read[name] or own
end

-- As limits_of, through the provider that the message has.
function routes.of(ref, channel)
  local own = limits_of(channel)
  if not own or not own.via then return own end
  return routes.limits(channel, redis.call('HGET', 'dcb:m:' .. ref, F.provider))
end

-- A part of it is taken, or may be: it must not go through another provider.
function routes.is_bound(known)
  return known[5] ~= '0' or tonumber(known[8] or '0') > 0
end

-- false where the provider may be spoken to; else whether its breaker is open, and until when it asked for silence or
-- an operator has stopped it.
local function blocked(provider)
  if blocked_read[provider] == nil then
    local breaker, pause = 'dcb:breaker:' .. provider, 'dcb:pause:' .. provider
    local stopped = controls.of('p/' .. provider)
    blocked_read[provider] = stopped and {open = false, till = stopped.till or now + 3600000, stopped = true} or false
    if not stopped and redis.call('EXISTS', breaker, pause) > 0 then
      local is_open, till = redis.call('EXISTS', breaker) == 1, paused_till(provider)
      if is_open or till > now then blocked_read[provider] = {open = is_open, till = till} end
    end
  end
  return blocked_read[provider]
end

-- The probe of an open breaker passes all limits: it is one message in some seconds.
local function may_probe(provider, ref)
  local f = redis.call('HMGET', 'dcb:breaker:' .. provider, 'probe', 'ref')
  if f[2] == ref then return true end
  if (tonumber(f[1]) or 0) > now then return false end
  local oldest = redis.call('ZRANGE', 'dcb:parked:' .. provider, 0, 0)[1]
  return not oldest or oldest == ref
end

-- What an operator wants of a provider, and whether it is slow.
function routes.health(provider)
  local found = routes.read[provider]
  if not found then
    local f = redis.pcall('HMGET', 'dcb:steer:' .. provider, 'how', 'until')
    local how = not f.err and (tonumber(f[2]) or 0) > now and f[1]
    found = {how = how, slow = redis.call('EXISTS', 'dcb:slow:' .. provider) == 1}
    routes.read[provider] = found
  end
  return found
end

-- The providers of a channel, the best one first: as an operator wants, then as they stand, slow ones behind.
function routes.ordered(via)
  if routes.read[via] then return routes.read[via] end
  local ranked = {}
  for at, name in ipairs(via.order) do
    local health = routes.health(name)
    local rank = health.how == 'prefer' and 0 or health.how == 'drain' and 3 or health.slow and via.on.s and 2 or 1
    ranked[at] = {name = name, rank = rank * 100 + at}
  end
  table.sort(ranked, function(x, y) return x.rank < y.rank end)
  for at, one in ipairs(ranked) do ranked[at] = one.name end
  routes.read[via] = ranked
  return ranked
end

-- Why a message that has a provider is not to wait for it, or nil.
function routes.leaves(provider, via)
  if not via.names[provider] then return 'gone' end
  if routes.health(provider).how == 'drain' then return 'drained' end
  local block = blocked(provider)
  if block and block.stopped then return 'paused' end
  if block and block.open then return via.on.b and 'breaker' or nil end
  if block and via.on.t then
    local since = tonumber(redis.call('HGET', 'dcb:paused:' .. provider, 'since')) or now
    if block.till - since > via.after then return 'throttled' end
  end
  return nil
end

-- The best one that may be spoken to, `but` one and those `tried`; nil where there is none.
function routes.healthy(via, but, tried)
  for _, name in ipairs(routes.ordered(via)) do
    if name ~= but and not blocked(name) and routes.health(name).how ~= 'drain'
      and not string.find(tried or '', ' ' .. name .. ' ', 1, true) then
      return name
    end
  end
  return nil
end

function routes.lane_of(ref, known)
  known[9] = known[9] or redis.call('HGET', 'dcb:m:' .. ref, F.lane) or ''
  return known[9]
end

function routes.sticky(ref, known, via)
  local lane = routes.lane_of(ref, known)
  local found = lane ~= '' and redis.pcall('GET', 'dcb:sticky:' .. lane)
  return type(found) == 'string' and via.names[found] and found or nil
end

-- A conversation that is new.
function routes.begin(via, lane)
  local best = routes.healthy(via)
  local drilled, in_share = routes.drill_of(via, lane)
  if in_share and not blocked(drilled) and routes.health(drilled).how ~= 'drain' then return drilled, 'drill ' .. drilled end
  if best and drilled then return best, 'beside ' .. drilled end
  if best then
    local why = best == via.order[1] and 'first' or routes.health(best).how == 'prefer' and 'preferred' or 'next'
    return best, why
  end
  for _, name in ipairs(via.order) do -- drained ones: better than none
    if not blocked(name) then return name, 'last' end
  end
  return nil
end

-- -> provider, why (nil: as before); and true where it may go through any of them as soon as it can be spoken to
function routes.choose(ref, known, via)
  local has = known[7]
  if has and routes.is_bound(known) and (via.names[has] or limits_of('providers/' .. has)) then return has end
  local stays = has or routes.sticky(ref, known, via)
  local why = not has and stays and 'sticky' or nil
  if stays then
    local left_for = routes.leaves(stays, via)
    if not left_for then return stays, why end
    local other = routes.healthy(via, stays)
    if other then return other, left_for end
    if left_for == 'drained' and not blocked(stays) then return stays, why end
    return stays, why, true
  end
  local best, because = routes.begin(via, routes.lane_of(ref, known))
  if best then return best, because end
  return via.order[1], nil, true
end

-- One whose breaker is open and that this message shall try; one of a conversation that stays with another shall not.
function routes.probe(ref, known, via)
  if routes.is_bound(known) then return nil end
  for _, name in ipairs(via.order) do
    local block = blocked(name)
    if block and block.open and routes.health(name).how ~= 'drain' and may_probe(name, ref) then
      if redis.call('HGET', 'dcb:breaker:' .. name, 'ref') == ref then return name, 'probe' end
      local stays = routes.sticky(ref, known, via)
      if known[4] == '0' and (not stays or stays == name) then return name, 'probe' end
    end
  end
  return nil
end

local function give_places_back(ref, channel)
  for _, limit in ipairs(routes.of(ref, channel) or {}) do
    if limit.cap > 0 and redis.call('ZREM', 'dcb:flight:' .. limit.key, ref) == 1 then
      redis.call('ZADD', 'dcb:lines', 'XX', now, limit.key)
    end
  end
end

-- The limits of the provider through which a message is to go now, which is written down; and true where none can be
-- spoken to and it may go through any. `probes`: it is claimed, and may try an open breaker.
function routes.take(ref, known, own, probes)
  local via, name, why, any = own.via, nil, nil, nil
  if probes then name, why = routes.probe(ref, known, via) end
  if not name then name, why, any = routes.choose(ref, known, via) end
  if any then return own, true end
  if name ~= known[7] then
    if known[6] then
      give_places_back(ref, known[1])
      redis.call('HDEL', 'dcb:m:' .. ref, F.slot)
      known[6] = false
    end
    redis.call('HSET', 'dcb:m:' .. ref, F.provider, name, F.provider_why, why or 'first')
    known[7] = name
  end
  return routes.limits(known[1], name), false
end

-- Whoever waits in a line may go through another provider now.
function routes.look_at_lines()
  for _, key in ipairs(redis.call('ZRANGE', 'dcb:lines', 0, -1)) do redis.call('ZADD', 'dcb:lines', now, key) end
end

-- ---------------------------------------------------------------- books of each provider

function routes.count(channel, provider, word, by)
  redis.call('HINCRBY', 'dcb:books:' .. channel, provider .. '|' .. word, by or 1)
end

-- Into the books of a provider, and out of those of another one.
function routes.book(ref, channel, provider, why)
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.booked_by, F.accepted_at, F.left_providers)
  local before = f[1]
  if before == provider then return end
  if before then
    routes.count(channel, before, 'accepted', -1)
    routes.count(channel, before, 'left')
    redis.call('ZREM', 'dcb:with:' .. before .. '/' .. channel, ref)
    local left = f[3] or ' '
    if not string.find(left, ' ' .. before .. ' ', 1, true) then
      redis.call('HSET', key, F.left_providers, left .. before .. ' ')
    end
    redis.call('HINCRBY', 'dcb:counts', 'switched', 1)
    note(key, 'switched', before, provider, why or '')
  end
  redis.call('HSET', key, F.booked_by, provider)
  routes.count(channel, provider, 'accepted')
  redis.call('ZADD', 'dcb:with:' .. provider .. '/' .. channel, f[2] or now, ref)
end

-- An attempt in which nothing was written is none. -> how many there are
function routes.uncount(key)
  redis.call('HINCRBY', key, F.attempts, -1)
  local total = redis.call('HINCRBY', key, F.total_attempts, -1)
  if tonumber(redis.call('HGET', key, F.chosen_for) or '') == total + 1 then redis.call('HSET', key, F.chosen_for, total) end
  return total
end

-- Of a message that is claimed, for its attempt of this number.
function routes.claimed(ref, channel, provider, attempt, lane)
  local key = 'dcb:m:' .. ref
  routes.stick(channel, lane, provider)
  routes.book(ref, channel, provider, redis.call('HGET', key, F.provider_why))
  redis.call('HSET', key, F.chosen_for, attempt)
end

-- A message has ended. An outcome that stayed unknown is none of the provider's failures.
function routes.ended(ref, channel, provider, state, detail)
  routes.count(channel, provider, detail == 'outcome unknown' and 'unknown' or state)
  redis.call('ZREM', 'dcb:with:' .. provider .. '/' .. channel, ref)
  redis.call('ZREM', 'dcb:awaited:' .. provider, ref)
  routes.drill_ended(ref, state)
end

-- ---------------------------------------------------------------- another one, after an attempt

-- The provider certainly did not take it: another one is chosen, or nil where it stays. `reason`: a word of routing.py,
-- or "route" where the message was refused for what is the provider's; `at`: when it would be tried again.
function routes.switch(ref, channel, reason, at)
  local own = limits_of(channel)
  local via, letter = own and own.via, string.sub(reason or '', 1, 1)
  if not via or letter == '' or not (via.on[letter] or letter == 'r') then return nil end
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.provider, F.part, F.unknown_requests, F.tried, F.throttled_since)
  if not f[1] or f[2] ~= '0' or tonumber(f[3] or '0') > 0 then return nil end
  if letter == 't' then
    redis.call('HSETNX', key, F.throttled_since, now)
    if at - (tonumber(f[5]) or now) <= via.after then return nil end
  end
  local tried = (f[4] or ' ') .. f[1] .. ' '
  local other = routes.healthy(via, f[1], tried)
  redis.call('HDEL', key, F.throttled_since, F.tried)
  if not other then return nil end
  redis.call('HSET', key, F.provider, other, F.provider_why, reason, F.tried, tried)
  redis.call('HINCRBY', 'dcb:counts', 'switched_' .. reason, 1)
  return other
end

-- By the policy resend_elsewhere: the outcome is unknown, and it goes through another one nevertheless.
function routes.resend_elsewhere(ref, channel)
  local own, key = limits_of(channel), 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.provider, F.part)
  local other = own and own.via and f[1] and f[2] == '0' and routes.healthy(own.via, f[1])
  if not other then return end
  redis.call('HSET', key, F.provider, other, F.provider_why, 'unknown')
  redis.call('HDEL', key, F.unknown_since, F.unknown_requests, F.unknown_at)
  redis.call('HINCRBY', 'dcb:counts', 'doubled_possible', 1)
end

-- ---------------------------------------------------------------- updates of a provider that is not the present one

-- What an update is worth, of a message of several providers: nil where it is its provider's; else the answer.
-- `take`: what to do where a provider that was left has the message after all.
function routes.foreign(ref, f, part, status, provider, take)
  local key = 'dcb:m:' .. ref
  if provider == f.booked_by then
    if f.provider ~= provider and not TERMINAL[f.state] then redis.call('HSET', key, F.provider, provider) end
    return nil
  end
  if tonumber(f.chosen_for) ~= tonumber(f.total_attempts) then return nil end -- an older process has sent it
  if not string.find(f.left_providers or '', ' ' .. provider .. ' ', 1, true) then return 'other_provider' end
  if status == U.failed or status == U.removed then return 'left' end
  if TERMINAL[f.state] or f.state == S.sent then
    if status ~= U.delivered or f.state == S.failed or f.state == S.removed then return 'left' end
    if redis.call('HSETNX', key, F.doubled_by, provider) == 1 then
      redis.call('HINCRBY', 'dcb:counts', 'doubled', 1)
      routes.count(f.channel_id, provider, 'doubled')
    end
    return 'doubled'
  end
  if part ~= tonumber(f.part) then return 'left' end
  if f.state == S.sending then
    redis.call('HSET', key, F.parked_provider, provider)
    return 'parked'
  end
  if f.state == S.unknown then redis.call('HINCRBY', 'dcb:counts', 'doubled_possible', 1) end
  routes.back(ref, f.channel_id, provider)
  return take()
end

-- A provider that was left has it after all.
function routes.back(ref, channel, provider)
  redis.call('HSET', 'dcb:m:' .. ref, F.provider, provider, F.provider_why, 'reported')
  redis.call('HDEL', 'dcb:m:' .. ref, F.parked_provider)
  routes.book(ref, channel, provider, 'reported')
end

-- Taken by the present provider, while one that was left says that it has it.
function routes.taken_twice(ref, channel)
  local key = 'dcb:m:' .. ref
  local other = redis.call('HGET', key, F.parked_provider)
  if not other then return end
  redis.call('HDEL', key, F.parked_provider)
  if redis.call('HSETNX', key, F.doubled_by, other) == 0 then return end
  redis.call('HINCRBY', 'dcb:counts', 'doubled', 1)
  routes.count(channel, other, 'doubled')
  note(key, 'doubled', other)
end

-- ---------------------------------------------------------------- which provider a conversation stays with

function routes.stick(channel, lane, provider)
  local own = limits_of(channel)
  local via = own and own.via
  if not via or not via.names[provider] or lane == '' then return false end
  redis.call('SET', 'dcb:sticky:' .. lane, provider, 'PX', via.stay)
  return true
end

-- ---------------------------------------------------------------- which number a conversation stays with

routes.SENDER_STAYS = 2592000000 -- ms; 30 days

-- What is remembered when a message is claimed first is what all its attempts are given.
function routes.keep_sender(key, lane)
  local kept = lane ~= '' and redis.pcall('GET', 'dcb:sender:' .. lane)
  redis.call('HSETNX', key, F.sender_kept, type(kept) == 'string' and kept or '-')
end

-- words: a letter of senders.py, the mark of the number or "-", and the number.
function routes.sent_from(ref, lane, words)
  local why, mark, number = string.match(words, '^(%l) (%S+) (.+)$')
  if not why then return end
  redis.call('HSET', 'dcb:m:' .. ref, F.sent_from, why .. ' ' .. number)
  if mark == '-' or lane == '' then return end
  local key = 'dcb:sender:' .. lane
  local kept = redis.pcall('GET', key)
  if type(kept) == 'string' and string.sub(kept, 1, 1) == 'w' and (why == 'w' or string.sub(kept, 2) == mark) then
    redis.call('PEXPIRE', key, routes.SENDER_STAYS)
  else
    redis.call('SET', key, (why == 'w' and 'w' or 's') .. mark, 'PX', routes.SENDER_STAYS)
  end
end

-- @verb stick channel lane provider sender -> 1|0
-- The consumer wrote through this provider, to the number with this mark ("": the channel has no others). 0 where the
-- channel has one provider.
function verbs.stick()
  if a.sender ~= '' then
    redis.call('SET', 'dcb:sender:' .. a.lane, 'w' .. a.sender, 'PX', routes.SENDER_STAYS)
  end
  return routes.stick(a.channel, a.lane, a.provider) and 1 or 0
end

-- @verb unstick lane -> 1|0
-- The conversation is over.
function verbs.unstick()
  return redis.call('DEL', 'dcb:sticky:' .. a.lane)
end

-- ---------------------------------------------------------------- what an operator wants

-- @verb steer provider how until_ms by why -> until
-- how: drain or prefer; it ends by itself after until_ms.
function verbs.steer()
  local key, till = 'dcb:steer:' .. a.provider, now + tonumber(a.until_ms)
  redis.call('DEL', key)
  redis.call('HSET', key, 'how', a.how, 'until', till, 'at', now, 'by', a.by, 'why', a.why)
  redis.call('PEXPIRE', key, a.until_ms)
  routes.read = {}
  return till
end

-- @verb steer_clear provider -> 1|0
function verbs.steer_clear()
  routes.read = {}
  return redis.call('DEL', 'dcb:steer:' .. a.provider)
end
