-- ---------------------------------------------------------------- what is known of the contact centre
--
--   dcb:signal:<watch>   value, at (ms since which it is known to be so), stale (1: it is not good any more), side ("above"
--                        or "below": what was told last) and told (ms)
--   dcb:signals          state (available, or unavailable), since (ms), why
--
-- Whoever writes a value shows that it holds the lock dcb:lead:<name>: one that stood still and was given up changes nothing.

local BETWEEN = 60000 -- ms between two events about one watch

local function leads(name, owner)
  return redis.call('GET', 'dcb:lead:' .. name) == owner
end

-- Whether it is told now that a value has crossed its threshold. One that comes too soon after the last is looked at again
-- with the next value.
local function cross(key, statistic, value, above, below)
  if not above or not below then return end
  local f = redis.call('HMGET', key, 'side', 'told')
  local side = f[1]
  if side == 'above' then
    if value > below then return end
  elseif value <= above then
    if not side then redis.call('HSET', key, 'side', 'below') end
    return
  end
  if now - (tonumber(f[2]) or 0) < BETWEEN then return end
  side = side == 'above' and 'below' or 'above'
  redis.call('HSET', key, 'side', side, 'told', now)
  aside.emit('statistic.crossed', 'watch', statistic, 'direction', side, 'value', string.format('%.14g', value),
    'threshold', string.format('%.14g', side == 'above' and above or below), 'at', now)
end

-- @verb signals_put name owner keep_ms (watch value age_ms above below)… -> ok|stale
-- value: "" for none. above, below: thresholds, "" where nothing is told. An older value replaces no newer one.
function verbs.signals_put()
  if not leads(a.name, a.owner) then return 'stale' end
  for i = each.from, #ARGV, each.size do
    local key, value, at = 'dcb:signal:' .. each.watch, tonumber(each.value), now - tonumber(each.age_ms)
    local known = redis.call('HMGET', key, 'value', 'at')
    if not value then
      redis.call('HSET', key, 'stale', 1)
    elseif not known[1] or at >= (tonumber(known[2]) or 0) then
      redis.call('HSET', key, 'value', each.value, 'at', at, 'stale', 0)
      cross(key, each.watch, value, tonumber(each.above), tonumber(each.below))
    end
    redis.call('PEXPIRE', key, a.keep_ms)
  end
  return 'ok'
end

-- @verb signals_state name owner state why keep_ms watch… -> changed|same|stale
-- available or unavailable, "" where that is not known yet. What is unavailable has no value that is good; of a watch
-- that is new, none is known.
function verbs.signals_state()
  if not leads(a.name, a.owner) then return 'stale' end
  for i = each.from, #ARGV do
    local key = 'dcb:signal:' .. each.watch
    if redis.call('HSETNX', key, 'at', now) == 1 or a.state == 'unavailable' then redis.call('HSET', key, 'stale', 1) end
    redis.call('PEXPIRE', key, a.keep_ms)
  end
  local known = redis.call('HGET', 'dcb:signals', 'state')
  if a.state == '' or known == a.state then return 'same' end
  redis.call('HSET', 'dcb:signals', 'state', a.state, 'since', now, 'why', a.why)
  redis.call('PEXPIRE', 'dcb:signals', a.keep_ms)
  if a.state == 'unavailable' then
    aside.emit('statistics.unavailable', 'reason', a.why, 'at', now)
  elseif known then
    aside.emit('statistics.available', 'at', now)
  end
  return 'changed'
end

-- @verb signals_read watch… -> {value, age_ms, 1|0}…
-- value: "" for none; 1 where it is good as far as is known, whatever its age.
function verbs.signals_read()
  local found = {}
  for i = each.from, #ARGV do
    local f = redis.call('HMGET', 'dcb:signal:' .. each.watch, 'value', 'at', 'stale')
    found[#found + 1] = f[1] or ''
    found[#found + 1] = math.max(0, now - (tonumber(f[2]) or 0))
    found[#found + 1] = (f[1] and f[3] == '0') and 1 or 0
  end
  return found
end
