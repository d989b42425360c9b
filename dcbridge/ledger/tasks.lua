-- ---------------------------------------------------------------- tasks: raw callbacks, consumer messages, deliveries

function tasks.put(id, job, lane, payload, trace, channel)
  redis.call('HSET', 'dcb:t:' .. id, F.state, T.waiting, F.job, job, F.lane, lane, F.payload, payload, F.trace_id, trace,
    F.channel_id, channel, F.accepted_at, now, F.attempts, 0)
  redis.call('ZADD', 'dcb:tasks:' .. job, now, id)
  redis.call('HINCRBY', 'dcb:counts', job .. '_accepted', 1)
  lane_push(lane, 't:' .. id)
end

-- @verb task_put index_ms (id job lane payload trace channel consumer)… -> {new|again…}
-- consumer, index_ms: of what a consumer wrote, as in index.lua.
function verbs.task_put()
  local answers = {}
  for i = each.from, #ARGV, each.size do
    if redis.call('EXISTS', 'dcb:t:' .. each.id) == 1 then
      answers[#answers + 1] = 'again'
    else
      tasks.put(each.id, each.job, each.lane, each.payload, each.trace, each.channel)
      index.wrote(each.id, each.consumer, tonumber(a.index_ms))
      answers[#answers + 1] = 'new'
    end
  end
  return answers
end

-- @verb task_claim id token lease_ms -> {go, fields…}|{why not}
function verbs.task_claim()
  local id, token, lease = a.id, a.token, tonumber(a.lease_ms)
  local key = 'dcb:t:' .. id
  local f = redis.call('HMGET', key, F.state, F.token, F.lane, F.not_before, F.accepted_at, F.piece_count)
  if not f[1] then return {'gone'} end
  if f[1] == T.running then
    if f[2] ~= token then return {'busy'} end
    redis.call('HSET', key, F.lease_ends, now + lease)
    redis.call('ZADD', 'dcb:due', first_look(token, lease), 't:' .. id)
  elseif f[1] == T.waiting then
    if not lane_is_head(f[3], 't:' .. id) then return {'not its turn'} end
    if tonumber(f[4] or '0') > now then
      redis.call('HDEL', key, F.queued_at) -- this job was too early, and is gone
      redis.call('ZADD', 'dcb:due', f[4], 't:' .. id)
      return {'not yet'}
    end
    local why = is_delivery('t:' .. id) and delivery_waits(id, f[5], lease)
    if why then return {why} end
    if f[6] then tasks.pieces_close(id) end
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

-- What Redis keeps compact has no field over 64 bytes, and never had one: without its payload a task is remembered for days
-- in 200 bytes when it is written anew, and else in 800.
function tasks.forgets(key)
  local long = redis.call('HSTRLEN', key, F.payload) > 64
  redis.call('HDEL', key, F.payload, F.token, F.lease_ends)
  if not long then return end
  local left = redis.call('HGETALL', key)
  redis.call('DEL', key)
  redis.call('HSET', key, unpack(left))
end

function tasks.leave(id, state, keep_ms)
  local key = 'dcb:t:' .. id
  local f = redis.call('HMGET', key, F.lane, F.job, F.channel_id)
  if state == T.done and f[2] == 'consumer' then owed.taken('c', f[3] or '') end
  redis.call('HSET', key, F.state, state, F.ended_at, now)
  tasks.forgets(key)
  redis.call('PEXPIRE', key, keep_ms)
  redis.call('ZREM', 'dcb:due', 't:' .. id)
  redis.call('ZREM', 'dcb:tasks:' .. f[2], id)
  redis.call('HINCRBY', 'dcb:counts', f[2] .. '_' .. state, 1)
  lane_leave(f[1], 't:' .. id)
end

-- @verb task_done id token keep_ms why ids -> done|stale
-- "stale" where it has ended. Nobody's claim is asked: what a worker that was given up for dead has done is done, and must
-- not be done again.
function verbs.task_done()
  local state = redis.call('HGET', 'dcb:t:' .. a.id, F.state)
  if state ~= T.running and state ~= T.waiting then return 'stale' end
  if (a.why or '') ~= '' then
    local key = 'dcb:t:' .. a.id
    note(key, 'try', redis.call('HGET', key, F.attempts), 0, 'nothing', 0, a.why)
  end
  if (a.ids or '') ~= '' then redis.call('HSET', 'dcb:t:' .. a.id, F.posted_ids, a.ids) end
  tasks.leave(a.id, T.done, a.keep_ms)
  blobs.end_with(a.id)
  return T.done
end

function tasks.waits(id, delay, code)
  local key, at = 'dcb:t:' .. id, now + delay
  redis.call('HSET', key, F.state, T.waiting, F.last_code, code, F.not_before, at)
  note(key, 'try', redis.call('HGET', key, F.attempts), 0, 'retry', delay, code)
  redis.call('HDEL', key, F.token, F.lease_ends, F.queued_at)
  redis.call('ZADD', 'dcb:due', at, 't:' .. id)
end

-- @verb task_retry id token delay_ms code -> waiting|stale
-- An empty token: the lease must have ended.
function verbs.task_retry()
  local id, key = a.id, 'dcb:t:' .. a.id
  local f = redis.call('HMGET', key, F.state, F.token, F.job, F.channel_id)
  if f[1] ~= T.running then return 'stale' end
  if a.token == '' then
    if not is_due('t:' .. id) then return 'stale' end
  elseif f[2] ~= a.token then
    return 'stale'
  elseif f[3] == 'consumer' then
    owed.refused('c', f[4] or '', a.code)
  end
  tasks.waits(id, tonumber(a.delay_ms), a.code)
  if is_delivery('t:' .. id) then release_delivery_slot(id) end
  return T.waiting
end

-- @verb task_dead id token reason raw keep_ms dead_keep_ms -> dead|stale
function verbs.task_dead()
  local id, key = a.id, 'dcb:t:' .. a.id
  local f = redis.call('HMGET', key, F.token, F.job, F.channel_id)
  if f[1] ~= a.token then return 'stale' end
  if f[2] == 'consumer' then owed.refused('c', f[3] or '', a.reason) end
  dead_letter('t-' .. id, f[2], f[3], a.reason, a.raw, tonumber(a.dead_keep_ms))
  note(key, 'try', redis.call('HGET', key, F.attempts), 0, 'dead', 0, a.reason)
  tasks.leave(id, T.dead, a.keep_ms)
  blobs.keep_with(id, tonumber(a.dead_keep_ms))
  return T.dead
end
