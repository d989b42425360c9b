-- ---------------------------------------------------------------- tokens of Genesys' interfaces, one for all processes
--
--   dcb:token:<id>   access, refresh (both encrypted), good and renew (ms until which it is good, and from which it is
--                    renewed), since (when it was granted); lock and lock_till: who renews it, and until when
--   dcb:shapes       "operation path" -> the JSON types that were seen there; names of fields, never values

local MOST_SHAPES = 4000 -- fields of all operations together

-- @verb token_ask id owner lock_ms keep_ms -> {access, good_ms, renew_ms, refresh, 1|0}
-- -> the token that there is ("" for none), and 1 where the caller is the one to renew it
function verbs.token_ask()
  local key = 'dcb:token:' .. a.id
  local f = redis.call('HMGET', key, 'access', 'good', 'renew', 'refresh', 'lock', 'lock_till')
  local good = math.max(0, (tonumber(f[2]) or 0) - now)
  local renew = math.max(0, (tonumber(f[3]) or 0) - now)
  local mine = 0
  if (good == 0 or renew == 0) and (f[5] == a.owner or (tonumber(f[6]) or 0) <= now) then
    redis.call('HSET', key, 'lock', a.owner, 'lock_till', now + tonumber(a.lock_ms))
    if redis.call('PTTL', key) < tonumber(a.lock_ms) then redis.call('PEXPIRE', key, a.keep_ms) end
    mine = 1
  end
  return {good > 0 and f[1] or '', good, renew, f[4] or '', mine}
end

-- @verb token_put id access good_ms renew_ms refresh keep_ms -> ok
-- Whoever says so: the newest is the best. An empty refresh token leaves the one that there is.
function verbs.token_put()
  local key = 'dcb:token:' .. a.id
  redis.call('HSET', key, 'access', a.access, 'good', now + tonumber(a.good_ms), 'renew', now + tonumber(a.renew_ms),
    'since', now)
  if a.refresh ~= '' then redis.call('HSET', key, 'refresh', a.refresh) end
  redis.call('HDEL', key, 'lock', 'lock_till')
  redis.call('PEXPIRE', key, a.keep_ms)
  return 'ok'
end

-- @verb token_failed id owner wait_ms -> ok|stale
-- The next one tries after that.
function verbs.token_failed()
  local key = 'dcb:token:' .. a.id
  if redis.call('HGET', key, 'lock') ~= a.owner then return 'stale' end
  redis.call('HSET', key, 'lock', '', 'lock_till', now + tonumber(a.wait_ms))
  return 'ok'
end

-- @verb token_drop id access settled_ms -> dropped|other|young
-- A token was refused. One that was granted just now is kept: it is not the token's fault.
function verbs.token_drop()
  local key = 'dcb:token:' .. a.id
  local f = redis.call('HMGET', key, 'access', 'since')
  if f[1] ~= a.access then return 'other' end
  if now - (tonumber(f[2]) or 0) < tonumber(a.settled_ms) then return 'young' end
  redis.call('HDEL', key, 'access', 'good', 'renew')
  return 'dropped'
end

-- @verb shapes operation (path type)… -> count
-- -> how many of them are new
function verbs.shapes()
  local fresh = 0
  for i = each.from, #ARGV, each.size do
    local field = a.operation .. ' ' .. each.path
    local known = redis.call('HGET', 'dcb:shapes', field)
    if not known then
      if redis.call('HLEN', 'dcb:shapes') < MOST_SHAPES then
        redis.call('HSET', 'dcb:shapes', field, each.type)
        fresh = fresh + 1
      end
    elseif not string.find(',' .. known .. ',', ',' .. each.type .. ',', 1, true) then
      redis.call('HSET', 'dcb:shapes', field, known .. ',' .. each.type)
      fresh = fresh + 1
    end
  end
  return fresh
end
