-- ---------------------------------------------------------------- sessions: who holds one, and what arrives in them
--
--   dcb:binds:<provider>   worker -> ms until which it may hold a session of this account
--   dcb:bound:<provider>   worker -> ms until which it is believed to be bound
--   dcb:arrived:<digest>   session -> how often these bytes arrived in it and are stored, while the SMSC may not have read
--                          the answer; kept for ten minutes
--   dcb:sessions:<provider>  session -> ms until which its connection is believed to be there
--
-- A message of an account with sessions is claimed by any worker. One that holds no session passes it on to the queue that
-- only those look at who hold one.

local function session_lives(provider, session, ttl)
  local key = 'dcb:sessions:' .. provider
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZADD', key, now + ttl, session)
  redis.call('PEXPIRE', key, ttl * 2)
end

-- `session`: that which is bound now, or ""
-- @verb bind_hold provider worker binds ttl_ms up session -> {1 where it may hold a session, how many are bound}
function verbs.bind_hold()
  local held, up = 'dcb:binds:' .. a.provider, 'dcb:bound:' .. a.provider
  local ttl = tonumber(a.ttl_ms)
  redis.call('ZREMRANGEBYSCORE', held, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', up, '-inf', now)
  local may = redis.call('ZSCORE', held, a.worker) and true or redis.call('ZCARD', held) < tonumber(a.binds)
  if may then
    redis.call('ZADD', held, now + ttl, a.worker)
    redis.call('PEXPIRE', held, ttl * 2)
  end
  if may and a.up == '1' then
    redis.call('ZADD', up, now + ttl, a.worker)
    redis.call('PEXPIRE', up, ttl * 2)
    if a.session ~= '' then session_lives(a.provider, a.session, ttl) end
  else
    redis.call('ZREM', up, a.worker)
  end
  return {may and 1 or 0, redis.call('ZCARD', up)}
end

-- @verb bind_release provider worker -> ok
function verbs.bind_release()
  redis.call('ZREM', 'dcb:binds:' .. a.provider, a.worker)
  redis.call('ZREM', 'dcb:bound:' .. a.provider, a.worker)
  return 'ok'
end

-- @verb pass_on ref token provider -> State|stale
-- A claim of a worker that cannot send it is given back, as if there had been none; it keeps its place in its limits.
function verbs.pass_on()
  local key = 'dcb:m:' .. a.ref
  local f = redis.call('HMGET', key, F.state, F.token, F.expires_at)
  if f[1] ~= S.sending or f[2] ~= a.token then return 'stale' end
  redis.call('HSET', key, F.state, S.accepted, F.slot, now, F.queued_at, now)
  redis.call('HDEL', key, F.token, F.lease_ends)
  routes.uncount(key)
  local n = redis.call('HINCRBY', key, F.jobs, 1)
  redis.call('ZADD', 'dcb:due', math.min(now + REQUEUE, tonumber(f[3] or '0')), 'm:' .. a.ref)
  queue_job('send', 'send-' .. a.ref .. '-' .. n, a.ref, 'outbound-' .. a.provider)
  return S.accepted
end

-- @verb session_ended provider session -> ok
function verbs.session_ended()
  redis.call('ZREM', 'dcb:sessions:' .. a.provider, a.session)
  return 'ok'
end

-- @verb arrive digest session keep_ms id job lane payload trace provider ttl_ms -> new|again|wait
-- What an SMSC sends again after a session broke, because it never read our answer, is known by its bytes: SMPP has no id
-- for it. The same bytes in one session are a consumer who writes the same twice. So are the same bytes in another session
-- whose answer was read, which is known soon as long as that session is there: until then nobody can tell ("wait").
function verbs.arrive()
  session_lives(a.provider, a.session, tonumber(a.ttl_ms))
  if redis.call('EXISTS', 'dcb:t:' .. a.id) == 1 then return 'again' end
  local key, unsure = 'dcb:arrived:' .. a.digest, false
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if all[i] ~= a.session then
      if redis.call('ZSCORE', 'dcb:sessions:' .. a.provider, all[i]) then
        unsure = true
      else
        if redis.call('HINCRBY', key, all[i], -1) <= 0 then redis.call('HDEL', key, all[i]) end
        return 'again'
      end
    end
  end
  if unsure then return 'wait' end
  redis.call('HINCRBY', key, a.session, 1)
  redis.call('PEXPIRE', key, tonumber(a.keep_ms))
  tasks.put(a.id, a.job, a.lane, a.payload, a.trace, '')
  return 'new'
end

-- @verb arrivals_read session digest… -> ok
-- The SMSC has read our answers to these: it does not send them again.
function verbs.arrivals_read()
  for i = each.from, #ARGV, each.size do
    local key = 'dcb:arrived:' .. each.digest
    if redis.call('HEXISTS', key, a.session) == 1 and redis.call('HINCRBY', key, a.session, -1) <= 0 then
      redis.call('HDEL', key, a.session)
    end
  end
  return 'ok'
end
