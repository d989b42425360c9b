-- The ledger's transitions. One script, so that whatever belongs together is written together.
--
-- A call carries the ISO time for RQ and any number of verbs, each as: how many words, verb, arguments.
-- While a verb runs, ARGV is its own: verb, ISO time, arguments.
--
-- ---------------------------------------------------------------- the ledger's time
--
-- Times are in ms, by Redis' own clock, which may step back: a failover to a computer whose clock is wrong, or a clock
-- that is set right. The ledger's time never runs backwards. It is Redis' clock and an offset, and the hash dcb:watched
-- holds the latest time that a sweep has seen:
--
--   time    the ledger's time at the last sweep      offset   ms that it is ahead of Redis' clock; 0 as a rule
--   controls   1 while an operator has stopped anything (controls.lua)
--
-- After a step back it goes on from where it was, and 5 % slower until the offset is used up. A clock that then jumps
-- forward (it was set right, or nobody swept for a while) uses it up at once. A step forward while the offset is 0 cannot
-- be told from a Redis that was down for so long: what is due by then is due.

local JUMP = 60000 -- ms between two sweeps that are a jump of the clock and not a sweep that was late

local owed, controls = {}, {read = {}}
local deferred = {} -- verb, or file -> what makes the functions of a file that few calls need (lua.py)
local verbs = setmetatable({}, {
  __index = function(known, name)
    if deferred[name] then deferred[name]() end
    return rawget(known, name)
  end,
})
local given, ARGV = ARGV, {}
local iso = given[1]
local TERMINAL = {[S.delivered] = true, [S.failed] = true, [S.removed] = true, [S.unconfirmed] = true}
local clock = {}

-- The ledger's time and its offset, from Redis' clock and what the last sweep has written.
function clock.read(real, latest, offset)
  if offset > 0 and real + offset > latest + JUMP then offset = math.max(0, latest - real) end
  if real + offset < latest then offset = latest - real end
  return real + offset, offset
end

do
  local moment = redis.call('TIME')
  local f = redis.pcall('HMGET', 'dcb:watched', 'time', 'offset', 'at', 'controls')
  if f.err then
    redis.call('DEL', 'dcb:watched') -- of another type: nothing in it is worth a standstill
    f = {}
  end
  controls.any = f[4] and true or false
  clock.real = moment[1] * 1000 + math.floor(moment[2] / 1000)
  clock.stored = tonumber(f[2] or '0') or 0
  clock.latest = math.max(tonumber(f[1] or '0') or 0, tonumber(f[3] or '0') or 0) -- an older version writes `at` alone
  clock.now, clock.offset = clock.read(clock.real, clock.latest, clock.stored)
end

local now = clock.now

-- For the sweep: `passed` ms of the ledger's time since the last one.
function clock.write(passed)
  if clock.offset > clock.stored + 1000 then redis.call('HINCRBY', 'dcb:counts', 'clock_stepped_back', 1) end
  local offset = math.max(0, clock.offset - math.floor(math.max(0, passed) / 20))
  if clock.offset > 0 or clock.stored > 0 then redis.call('HSET', 'dcb:watched', 'offset', offset) end
  redis.call('HSET', 'dcb:watched', 'time', now)
end
