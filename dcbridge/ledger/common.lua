-- What all verbs share: the keys, RQ's jobs, the lanes, dead letters. `now` is of clock.lua.
--
--   dcb:m:<ref>            one agent message to one recipient        dcb:lane:<lane>      members in order of acceptance
--   dcb:t:<id>             one task: a raw callback, a consumer message   dcb:due          member -> ms when to look at it
--   dcb:open:<channel>     ref -> ms accepted, while in flight       dcb:books:<channel>  counters
--   dcb:receipts:<channel> ref -> ms due, until posted               dcb:dead:<id>, dcb:dead   dead letters, by time
--   dcb:p:<ref of the first copy>  the payload; dcb:pn:<same> how many copies still need it, where there are several
--
-- A member is "m:<ref>" or "t:<id>": the key without "dcb:". Only the head of a lane has a job; a message behind it is due
-- when its time to live ends.
-- A delivery of an event to a subscriber is a task as well; it has a job once its subscriber's turn comes to it.

local REQUEUE = 15000 -- ms until a queued job that nobody claimed is looked for
local LATE = 3600000 -- ms after which a redelivery is no repeated delivery any more: somebody has kept the webhook

-- ---------------------------------------------------------------- RQ's side: a job is a wake-up that carries an id

-- `queue`: another one than the job's own.
local function queue_job(name, id, argument, queue)
  local job = JOBS[name]
  queue = queue or job.queue
  local key = 'rq:job:' .. id
  redis.call('HSET', key, 'created_at', iso, 'enqueued_at', iso, 'origin', queue, 'status', 'queued',
    'description', name .. ' ' .. argument, 'timeout', job.timeout, 'result_ttl', 0, 'failure_ttl', 86400,
    'data', '["' .. job.path .. '",null,' .. cjson.encode({argument}) .. ',{}]', 'dcb_at', now)
  redis.call('SADD', 'rq:queues', 'rq:queue:' .. queue)
  redis.call('RPUSH', 'rq:queue:' .. queue, id)
end

-- `expires`: ms when its time to live is over, which must not be missed in the queue.
local function wake(member, expires)
  local kind, id = string.sub(member, 1, 1), string.sub(member, 3)
  local name = 'send'
  if kind == 't' then name = redis.call('HGET', 'dcb:' .. member, F.job) end
  if not name then
    if redis.call('EXISTS', 'dcb:' .. member) == 1 then error('it has no job', 0) end
    return
  end
  local n = redis.call('HINCRBY', 'dcb:' .. member, F.jobs, 1)
  redis.call('HSET', 'dcb:' .. member, F.queued_at, now)
  redis.call('ZADD', 'dcb:due', math.min(now + REQUEUE, expires or now + REQUEUE), member)
  queue_job(name, name .. '-' .. id .. '-' .. n, id)
end

-- A queue is first in, first out: our job is gone when the oldest one left is younger than ours.
local function job_is_lost(name, queued_at)
  local queue = 'rq:queue:' .. JOBS[name].queue
  local head = redis.call('LINDEX', queue, 0)
  if not head then return true end
  local head_at = tonumber(redis.call('HGET', 'rq:job:' .. head, 'dcb_at') or '0')
  return head_at > queued_at
end

-- What may go, if it is its turn: a delivery waits for that in its subscriber's queue (subscribers.lua), a message in the
-- line of its limits (lines.lua).
local ready = wake
aside.ready = function(member) return ready(member) end

local function is_due(member)
  return tonumber(redis.call('ZSCORE', 'dcb:due', member) or '0') <= now
end

-- ---------------------------------------------------------------- lanes

-- `known`: fields of a message as in lines.lua; one that waits behind another is looked at when its time to live ends.
local function lane_push(lane, member, known)
  if lane == '' or redis.call('RPUSH', 'dcb:lane:' .. lane, member) == 1 or aside.passed_over(lane, member) then
    ready(member, known)
  elseif known then
    redis.call('ZADD', 'dcb:due', known[3], member)
  end
end

local function lane_is_head(lane, member)
  return lane == '' or redis.call('LINDEX', 'dcb:lane:' .. lane, 0) == member
end

local function lane_leave(lane, member)
  if not lane or lane == '' then return end
  local key = 'dcb:lane:' .. lane
  if redis.call('LINDEX', key, 0) == member then
    redis.call('LPOP', key)
    local head = redis.call('LINDEX', key, 0)
    if head then aside.try(head, ready, head) end
  else
    redis.call('LREM', key, 1, member)
  end
end

-- ---------------------------------------------------------------- dead letters

-- Raw bytes end with the setting of today, whatever it was when they were written.
local function forget_dead_letters(keep_ms)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:dead', '-inf', now - keep_ms, 'LIMIT', 0, 100)) do
    redis.call('DEL', 'dcb:dead:' .. id)
    redis.call('ZREM', 'dcb:dead', id)
  end
end

local function dead_letter(id, what, channel, reason, raw, keep_ms)
  redis.call('HSET', 'dcb:dead:' .. id, 'what', what, 'channel', channel, 'reason', reason, 'raw', raw, 'at', now)
  redis.call('PEXPIRE', 'dcb:dead:' .. id, keep_ms)
  redis.call('ZADD', 'dcb:dead', now, id)
  forget_dead_letters(keep_ms)
  redis.call('HINCRBY', 'dcb:counts', 'dead', 1)
  if what ~= K.delivery then -- that one has delivery.dead; an event about it might end as it did, without an end
    aside.emit('dead_letter.written', 'letter', id, 'kind', what, 'channel', channel, 'reason', reason, 'at', now)
  end
end
