-- ---------------------------------------------------------------- tasks: raw callbacks, consumer messages, deliveries

-- task_put then (id job lane payload trace channel)… -> for each "new" or "again"
function verbs.task_put()
  local answers = {}
  for i = 3, #ARGV, 6 do
    local key = 'dcb:t:' .. ARGV[i]
    if redis.call('EXISTS', key) == 1 then
      answers[#answers + 1] = 'again'
    else
      redis.call('HSET', key, F.state, T.waiting, F.job, ARGV[i + 1], F.lane, ARGV[i + 2], F.payload, ARGV[i + 3],
        F.trace_id, ARGV[i + 4], F.channel_id, ARGV[i + 5], F.accepted_at, now, F.attempts, 0)
      redis.call('ZADD', 'dcb:tasks:' .. ARGV[i + 1], now, ARGV[i])
      redis.call('HINCRBY', 'dcb:counts', ARGV[i + 1] .. '_accepted', 1)
      lane_push(ARGV[i + 2], 't:' .. ARGV[i])
      answers[#answers + 1] = 'new'
    end
  end
  return answers
end

-- task_claim id token lease_ms -> {"go", fields…} or {why not}
function verbs.task_claim()
  local id, token, lease = ARGV[3], ARGV[4], tonumber(ARGV[5])
  local key = 'dcb:t:' .. id
  local f = redis.call('HMGET', key, F.state, F.token, F.lane, F.not_before, F.accepted_at)
  if not f[1] then return {'gone'} end
  if f[1] == T.running then
    if f[2] ~= token then return {'busy'} end
    redis.call('HSET', key, F.lease_ends, now + lease)
    redis.call('ZADD', 'dcb:due', first_look(token, lease), 't:' .. id)
  elseif f[1] == T.waiting then
    if not lane_is_head(f[3], 't:' .. id) then return {'not its turn'} end
    if tonumber(f[4] or '0') > now then return {'not yet'} end
    local why = is_delivery('t:' .. id) and delivery_waits(id, f[5], lease)
    if why then return {why} end
    redis.call('HSET', key, F.state, T.running, F.token, token, F.lease_ends, now + lease)
    redis.call('HINCRBY', key, F.attempts, 1)
    redis.call('ZADD', 'dcb:due', first_look(token, lease), 't:' .. id)
  else
    return {f[1]}
  end
  local all = redis.call('HGETALL', key)
  if is_delivery('t:' .. id) then
    all[#all + 1] = F.payload
    all[#all + 1] = redis.call('GET', 'dcb:e:' .. event_of(id))
  end
  return {'go', all}
end

local function task_leave(id, state, keep_ms)
  local key = 'dcb:t:' .. id
  local f = redis.call('HMGET', key, F.lane, F.job)
  redis.call('HSET', key, F.state, state, F.ended_at, now)
  redis.call('HDEL', key, F.payload, F.token, F.lease_ends)
  redis.call('PEXPIRE', key, keep_ms)
  redis.call('ZREM', 'dcb:due', 't:' .. id)
  redis.call('ZREM', 'dcb:tasks:' .. f[2], id)
  redis.call('HINCRBY', 'dcb:counts', f[2] .. '_' .. state, 1)
  lane_leave(f[1], 't:' .. id)
end

-- task_done id token keep_ms why -> "done", or "stale" where it has ended. Nobody's claim is asked: what a worker that was
-- given up for dead has done is done, and must not be done again.
function verbs.task_done()
  local state = redis.call('HGET', 'dcb:t:' .. ARGV[3], F.state)
  if state ~= T.running and state ~= T.waiting then return 'stale' end
  if (ARGV[6] or '') ~= '' then
    local key = 'dcb:t:' .. ARGV[3]
    note(key, 'try', redis.call('HGET', key, F.attempts), 0, 'nothing', 0, ARGV[6])
  end
  task_leave(ARGV[3], T.done, ARGV[5])
  return T.done
end

local function task_waits(id, delay, code)
  local key, at = 'dcb:t:' .. id, now + delay
  redis.call('HSET', key, F.state, T.waiting, F.last_code, code, F.not_before, at)
  note(key, 'try', redis.call('HGET', key, F.attempts), 0, 'retry', delay, code)
  redis.call('HDEL', key, F.token, F.lease_ends, F.queued_at)
  redis.call('ZADD', 'dcb:due', at, 't:' .. id)
end

-- task_retry id token delay_ms code -> "waiting" or "stale". An empty token: the lease must have ended.
function verbs.task_retry()
  local id, key = ARGV[3], 'dcb:t:' .. ARGV[3]
  local f = redis.call('HMGET', key, F.state, F.token)
  if f[1] ~= T.running then return 'stale' end
  if ARGV[4] == '' then
    if not is_due('t:' .. id) then return 'stale' end
  elseif f[2] ~= ARGV[4] then
    return 'stale'
  end
  task_waits(id, tonumber(ARGV[5]), ARGV[6])
  if is_delivery('t:' .. id) then delivery_landed(id) end
  return T.waiting
end

-- task_dead id token reason raw keep_ms dead_keep_ms -> "dead" or "stale"
function verbs.task_dead()
  local id, key = ARGV[3], 'dcb:t:' .. ARGV[3]
  local f = redis.call('HMGET', key, F.token, F.job, F.channel_id)
  if f[1] ~= ARGV[4] then return 'stale' end
  bury('t-' .. id, f[2], f[3], ARGV[5], ARGV[6], tonumber(ARGV[8]))
  note(key, 'try', redis.call('HGET', key, F.attempts), 0, 'dead', 0, ARGV[5])
  task_leave(id, T.dead, ARGV[7])
  return T.dead
end
