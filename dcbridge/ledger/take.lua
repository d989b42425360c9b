-- Take up to ARGV[1] jobs from the queues in their order, as started by worker ARGV[2].
-- ARGV: limit, worker name, ISO time, Unix time when RQ may call them abandoned, an id popped already or "", the largest
-- data that a job of ours can have, then each queue and how many of it at most.
-- -> {{job id, queue, data}, …}, nil while `rq suspend` holds, or this worker is drained (controls.lua). A job whose hash is gone is skipped: the ledger knows what
-- it was for. Larger data is given as none at all: whoever writes to Redis shall not fill a worker's memory.
-- What a job is for is looked at soon: a worker that is killed now has claimed nothing, and nobody would miss it.
local out, left = {}, tonumber(ARGV[1])
local LOOK = 5000 -- ms
local clock = redis.call('TIME')
local look = clock[1] * 1000 + math.floor(clock[2] / 1000) + LOOK
local stopped = redis.call('EXISTS', 'rq:suspended') == 1
local drained = redis.pcall('HEXISTS', 'dcb:controls', 'w/' .. ARGV[2]) == 1
if (stopped or drained) and ARGV[5] == '' then return false end

local function start(id, queue)
  local key = 'rq:job:' .. id
  local size = redis.pcall('HSTRLEN', key, 'data')
  if size == 0 then return end
  if type(size) ~= 'number' or size > tonumber(ARGV[6]) then
    out[#out + 1] = {id, queue, ''}
    return
  end
  local data = redis.call('HGET', key, 'data')
  redis.call('HSET', key, 'status', 'started', 'started_at', ARGV[3], 'worker_name', ARGV[2])
  redis.call('EXPIRE', key, 3600) -- what a killed worker leaves goes by itself; the ledger does not need it
  redis.call('ZADD', 'rq:wip:' .. queue, ARGV[4], id .. ':' .. ARGV[2])
  local name, its = string.match(id, '^(%a+)-(.+)-%d+$')
  local job = name and JOBS[name]
  if job and job.about ~= '' then
    local member = job.about .. ':' .. its
    local f = redis.call('HMGET', 'dcb:' .. member, F.state, F.queued_at, F.lookup_queued_at)
    local waits = f[2] and (f[1] == S.accepted or f[1] == S.retry or f[1] == T.waiting)
    if name == 'ask' then waits = f[3] end
    -- Anything else waits for something of its own: a grace, a confirmation, a pace. A second job must not hasten that.
    if waits then redis.call('ZADD', 'dcb:due', 'XX', 'LT', look, member) end
  end
  out[#out + 1] = {id, queue, data}
end

local popped = 0
if ARGV[5] ~= '' then
  start(ARGV[5], ARGV[7])
  popped, left = 1, drained and 0 or left - 1
end
for i = 7, #ARGV, 2 do
  local most = math.min(left, tonumber(ARGV[i + 1]) - (i == 7 and popped or 0))
  redis.call('ZREMRANGEBYSCORE', 'rq:wip:' .. ARGV[i], '-inf', tonumber(ARGV[4]) - 300)
  local ids = most > 0 and redis.call('LPOP', 'rq:queue:' .. ARGV[i], most)
  if ids then
    for _, id in ipairs(ids) do start(id, ARGV[i]) end
    left = left - #ids
  end
end
return out
