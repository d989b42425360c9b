-- ---------------------------------------------------------------- speed: whose delivery updates are slow; and drills
--
--   dcb:awaited:<provider> ref -> ms when the provider took it, of some messages whose first delivery update has not come
--   dcb:speed:<provider>   "<minute> ok" and "<minute> slow": updates that came in time, and that did not
--   dcb:slow:<provider>    since, share, good (since when it is better), while it is slow
--   dcb:measured           the providers that have any of these
--   dcb:drill:<provider>   share, since, until, salt, by, why; "drill <word>" and "beside <word>" counted
--
-- All of it is a sample: no more than AWAITED messages wait, so it needs the same memory at any load. A drill sends a share
-- of new conversations through a provider that they would not have, and counts them and those beside them.

routes.AWAITED = 500
routes.MINUTES = 10
routes.BETTER = 600000 -- ms for which it has to be better
routes.REPORT = 604800000 -- ms for which the figures of a drill are kept

-- A provider took a message of which an update is to come.
function routes.await(ref, provider)
  local key = 'dcb:awaited:' .. provider
  if redis.call('ZCARD', key) >= routes.AWAITED then return end
  redis.call('ZADD', key, 'NX', now, ref)
  redis.call('SADD', 'dcb:measured', provider)
end

function routes.speed_count(provider, word, by)
  local key, minute = 'dcb:speed:' .. provider, math.floor(now / 60000)
  redis.call('HINCRBY', key, minute .. ' ' .. word, by)
  redis.call('PEXPIRE', key, (routes.MINUTES + 2) * 60000)
end

-- The first update about it came.
function routes.heard(ref, provider)
  if redis.call('ZREM', 'dcb:awaited:' .. provider, ref) == 1 then routes.speed_count(provider, 'ok', 1) end
end

-- -> {how many were slow lately, of how many}
function routes.speed_of(provider)
  local key, minute = 'dcb:speed:' .. provider, math.floor(now / 60000)
  local all, slow, count, old = redis.call('HGETALL', key), 0, 0, {}
  for i = 1, #all, 2 do
    local at, word = string.match(all[i], '^(%d+) (%l+)$')
    if not at or tonumber(at) <= minute - routes.MINUTES then
      old[#old + 1] = all[i]
    else
      count = count + (tonumber(all[i + 1]) or 0)
      if word == 'slow' then slow = slow + (tonumber(all[i + 1]) or 0) end
    end
  end
  if #old > 0 then redis.call('HDEL', key, unpack(old)) end
  return slow, count
end

function routes.judge(provider)
  local account = limits_of('providers/' .. provider)
  local slow_is = account and account.slow
  if not slow_is then
    redis.call('SREM', 'dcb:measured', provider)
    redis.call('DEL', 'dcb:awaited:' .. provider, 'dcb:speed:' .. provider, 'dcb:slow:' .. provider)
    return
  end
  local late = redis.call('ZREMRANGEBYSCORE', 'dcb:awaited:' .. provider, '-inf', now - slow_is.after)
  if late > 0 then routes.speed_count(provider, 'slow', late) end
  local slow, count = routes.speed_of(provider)
  local key, share = 'dcb:slow:' .. provider, count > 0 and slow / count or 0
  local was = redis.call('HMGET', key, 'since', 'good')
  if not was[1] then
    if count < slow_is.messages or share <= slow_is.share then return end
    redis.call('HSET', key, 'since', now, 'share', string.format('%.3f', share))
    redis.call('HINCRBY', 'dcb:counts', 'provider_slow', 1)
  elseif share > slow_is.back then
    redis.call('HSET', key, 'share', string.format('%.3f', share))
    redis.call('HDEL', key, 'good')
  elseif not was[2] then
    redis.call('HSET', key, 'good', now, 'share', string.format('%.3f', share))
  elseif now - tonumber(was[2]) >= routes.BETTER then
    redis.call('DEL', key)
  end
  routes.read = {}
end

-- A provider took a message, or a part of it. `awaits`: its first update is to come.
function routes.taken(ref, channel, provider, awaits)
  local key, own = 'dcb:m:' .. ref, limits_of(channel)
  routes.taken_twice(ref, channel)
  if awaits and own and own.via and own.via.on.s then routes.await(ref, provider) end
  routes.drill_count(key, redis.call('HGET', key, F.provider_why), 'taken')
end

-- For the sweep, where it is the first in a second.
function routes.look_at_speed()
  if redis.call('EXISTS', 'dcb:measured') == 0 then return end
  if not redis.call('SET', 'dcb:measured-at', now, 'NX', 'PX', 1000) then return end
  for _, provider in ipairs(redis.call('SMEMBERS', 'dcb:measured')) do aside.unless_typed(routes.judge, provider) end
end

-- ---------------------------------------------------------------- drills

-- The provider that is drilled, of a channel's, and whether this conversation is of its share.
function routes.drill_of(via, lane)
  for _, name in ipairs(via.order) do
    local f = redis.pcall('HMGET', 'dcb:drill:' .. name, 'share', 'until', 'salt')
    if not f.err and (tonumber(f[2]) or 0) > now then
      local digest = tonumber(string.sub(redis.sha1hex((f[3] or '') .. lane), 1, 8), 16)
      return name, lane ~= '' and digest / 4294967296 < (tonumber(f[1]) or 0)
    end
  end
  return nil
end

-- A message of a drill, or of one beside it, was taken, or has ended.
function routes.drill_count(key, why, word)
  local group, name = string.match(why or '', '^(%l+) ([%l%d-]+)$')
  if group ~= 'drill' and group ~= 'beside' then return end
  local drill = 'dcb:drill:' .. name
  if redis.call('EXISTS', drill) == 0 then return end
  redis.call('HINCRBY', drill, group .. ' ' .. word, 1)
  local sent = word == S.delivered and tonumber(redis.call('HGET', key, F.sent_at))
  if sent then redis.call('HINCRBY', drill, group .. ' ms', math.max(0, now - sent)) end
end

function routes.drill_ended(ref, state)
  local key = 'dcb:m:' .. ref
  routes.drill_count(key, redis.call('HGET', key, F.provider_why), state)
end

-- @verb drill provider share until_ms salt by why -> until
function verbs.drill()
  local key, till = 'dcb:drill:' .. a.provider, now + tonumber(a.until_ms)
  redis.call('DEL', key)
  redis.call('HSET', key, 'share', a.share, 'since', now, 'until', till, 'salt', a.salt, 'by', a.by, 'why', a.why)
  redis.call('PEXPIRE', key, tonumber(a.until_ms) + routes.REPORT)
  return till
end

-- @verb drill_ends provider -> 1|0
-- Now, and not when it was to. Its figures stay.
function verbs.drill_ends()
  local key = 'dcb:drill:' .. a.provider
  if (tonumber(redis.call('HGET', key, 'until')) or 0) <= now then return 0 end
  redis.call('HSET', key, 'until', now)
  return 1
end
