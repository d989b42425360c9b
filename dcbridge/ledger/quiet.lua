-- ---------------------------------------------------------------- quiet hours: consumers who are asleep
--
--   dcb:quiet              channel -> a fingerprint of its quiet hours, as workers announce it
--   dcb:wrote:<lane>       ms when the consumer wrote, for as long as answers are sent at any hour
--   dcb:line:n-<ms>-<fingerprint>-<channel>   messages that wait until then
--   dcb:hold-while         channel -> "<fingerprint> <watch> <above> <ms>": a statistic above which its messages wait, and
--                          for how long a value is good; as workers announce it
--   dcb:line:w-<fingerprint>-<channel>        messages that wait for it to fall
--
-- Whether it is quiet is known to the worker that has claimed a message: it gives the claim back. Who waits stands in one
-- line with all of the channel that may go at the same moment. A line whose fingerprint is not the channel's any more is
-- over at once: whoever claims the messages decides anew.

local AGAIN = 1000 -- ms until it is looked again at least, however the clocks of workers differ from Redis'

-- The moment at which a worker says that it is over, by the ledger's time. Its clock may be behind that of Redis.
local function opens(until_ms, left_ms)
  local till = math.max(until_ms + clock.offset, now + AGAIN)
  if now + left_ms > till + AGAIN then till = now + left_ms end
  return math.ceil(till / 1000) * 1000
end

-- As if it had not been claimed. -> whether it was the first time
function routes.unclaim(ref, channel)
  local key = 'dcb:m:' .. ref
  local booked = redis.call('HGET', key, F.booked_by)
  local first = routes.uncount(key) == 0
  redis.call('HSET', key, F.state, first and S.accepted or S.retry, F.not_before, now)
  redis.call('HDEL', key, F.token, F.lease_ends, F.began_at, F.attempt_began_at) -- quiet hours are none of lane_limit
  if first and booked then
    routes.count(channel, booked, 'accepted', -1)
    redis.call('ZREM', 'dcb:with:' .. booked .. '/' .. channel, ref)
    redis.call('HDEL', key, F.booked_by, F.chosen_for)
  end
end

-- What it booked is for others: its place in time, and in the probe of an open breaker.
function routes.give_back(ref, channel)
  local limits = routes.of(ref, channel)
  for _, limit in ipairs(limits or {}) do
    local arrival = limit.rate > 0 and tonumber(redis.call('GET', 'dcb:tat:' .. limit.key))
    if arrival then
      redis.call('SET', 'dcb:tat:' .. limit.key, string.format('%.3f', arrival - 1000 / limit.rate), 'KEEPTTL')
    end
  end
  local breaker = limits and 'dcb:breaker:' .. limits.provider
  if breaker and redis.call('HGET', breaker, 'ref') == ref then
    redis.call('HSET', breaker, 'probe', now)
    redis.call('HDEL', breaker, 'ref')
  end
  release_slot(ref, channel)
end

-- @verb quiet_hold ref token until_ms left_ms fingerprint how detail keep_ms -> waits|State|begun|answer|send|stale
-- A claimed message, whose consumer has quiet hours until then. how: wait, fail or send. It goes nevertheless where it is
-- "begun", in part or perhaps, or where the consumer wrote lately. One whose time to live ends before it might go fails now.
function verbs.quiet_hold()
  local ref, key = a.ref, 'dcb:m:' .. a.ref
  local f = redis.call('HMGET', key, F.state, F.token, F.part, F.unknown_since, F.lane, F.expires_at, F.channel_id)
  if f[1] ~= S.sending or f[2] ~= a.token then return 'stale' end
  if f[3] ~= '0' or f[4] then return 'begun' end
  if f[5] ~= '' and redis.call('EXISTS', 'dcb:wrote:' .. f[5]) == 1 then return 'answer' end
  if a.how == 'send' then return 'send' end
  local till, channel = opens(tonumber(a.until_ms), tonumber(a.left_ms)), f[7]
  local over = till > tonumber(f[6]) and till > controls.ends_at(ref, known_of(ref))
  routes.give_back(ref, channel)
  local state = reported_meanwhile(ref, f[3], tonumber(a.keep_ms), a.detail)
  if state then return state end
  routes.unclaim(ref, channel)
  if redis.call('HEXISTS', key, F.cancelled) == 1 then return controls.end_cancelled(ref) end
  if a.how == 'fail' or over then
    return finish(ref, S.failed, a.how == 'fail' and '350' or '305', a.detail, 'Failed', tonumber(a.keep_ms))
  end
  local line, known = 'n-' .. string.format('%.0f', till) .. '-' .. a.fingerprint .. '-' .. channel, known_of(ref)
  wait(ref, known, line)
  redis.call('ZADD', 'dcb:line:' .. line, place_of(known), ref)
  redis.call('ZADD', 'dcb:lines', 'NX', till, line)
  redis.call('ZADD', 'dcb:open:' .. channel, 'XX', till, ref) -- since when it could have gone
  -- An older version knows no such line: after a rollback it finds the message due, a minute late.
  redis.call('ZADD', 'dcb:due', math.min(look_at_latest(known), till + LOOK_LATE), 'm:' .. ref)
  note(key, 'quiet', string.format('%.0f', till))
  return 'waits'
end

-- It may go, sooner than was said or as it was.
local function let_go(ref, line)
  local channel = aside.field('m:' .. ref, F.channel_id)
  redis.call('ZADD', 'dcb:open:' .. channel, 'XX', 'LT', now, ref)
  line_up_again(ref, line)
end

function ADVANCE.n(key, most)
  local till, fingerprint, channel = string.match(key, '^n%-(%d+)%-(%w+)%-(.+)$')
  till = tonumber(till)
  if till and till > now and redis.call('HGET', 'dcb:quiet', channel) == fingerprint then
    look_later(key, till)
    return 0
  end
  return let_all_go(key, most, let_go)
end

-- ---------------------------------------------------------------- while a statistic is too high

-- Whether it is, and that is known at this moment: a value that is not good any more holds nothing.
local function is_busy(channel, fingerprint)
  local line = redis.call('HGET', 'dcb:hold-while', channel)
  local known, statistic, above, fresh = string.match(line or '', '^(%w+) (%S+) (%S+) (%d+)$')
  if known ~= fingerprint then return false end
  local f = redis.call('HMGET', 'dcb:signal:' .. statistic, 'value', 'at', 'stale')
  local value, at = tonumber(f[1] or ''), tonumber(f[2] or '')
  if not value or not at or f[3] ~= '0' or now - at > tonumber(fresh) then return false end
  return value > tonumber(above)
end

-- @verb hold_while ref token fingerprint detail keep_ms -> waits|State|begun|answer|send|stale
-- A claimed message of a channel that waits while a statistic is above a value. It goes nevertheless where it is "begun",
-- or where the consumer wrote lately; and never waits longer than its time to live.
function verbs.hold_while()
  local ref, key = a.ref, 'dcb:m:' .. a.ref
  local f = redis.call('HMGET', key, F.state, F.token, F.part, F.unknown_since, F.lane, F.channel_id)
  if f[1] ~= S.sending or f[2] ~= a.token then return 'stale' end
  if f[3] ~= '0' or f[4] then return 'begun' end
  local channel = f[6]
  if not is_busy(channel, a.fingerprint) then return 'send' end
  if f[5] ~= '' and redis.call('EXISTS', 'dcb:wrote:' .. f[5]) == 1 then return 'answer' end
  routes.give_back(ref, channel)
  local state = reported_meanwhile(ref, f[3], tonumber(a.keep_ms), a.detail)
  if state then return state end
  routes.unclaim(ref, channel)
  if redis.call('HEXISTS', key, F.cancelled) == 1 then return controls.end_cancelled(ref) end
  local line, known = 'w-' .. a.fingerprint .. '-' .. channel, known_of(ref)
  stand_in(line, ref, known, now + LOOK_SOON)
  redis.call('ZADD', 'dcb:open:' .. channel, 'XX', look_at_latest(known), ref) -- since when it could have gone
  redis.call('ZADD', 'dcb:due', math.min(look_at_latest(known), now + LOOK_LATE), 'm:' .. ref) -- as for quiet hours
  return 'waits'
end

function ADVANCE.w(key, most)
  local fingerprint, channel = string.match(key, '^w%-(%w+)%-(.+)$')
  if channel and is_busy(channel, fingerprint) then
    look_later(key, now + LOOK_SOON)
    return 0
  end
  return let_all_go(key, most, let_go)
end

-- @verb holds (channel line)… -> ok
-- What a worker's configuration says of the channels that wait for a statistic.
function verbs.holds()
  redis.call('DEL', 'dcb:hold-while')
  for i = each.from, #ARGV, each.size do redis.call('HSET', 'dcb:hold-while', each.channel, each.line) end
  return 'ok'
end

-- @verb quiet_hours (channel fingerprint)… -> ok
-- What a worker's configuration says of the channels that have some.
function verbs.quiet_hours()
  redis.call('DEL', 'dcb:quiet')
  for i = each.from, #ARGV, each.size do redis.call('HSET', 'dcb:quiet', each.channel, each.fingerprint) end
  for _, key in ipairs(redis.call('ZRANGE', 'dcb:lines', 0, -1)) do
    if string.sub(key, 1, 2) == 'n-' then redis.call('ZADD', 'dcb:lines', now, key) end
  end
  return 'ok'
end

-- @verb consumer_wrote lane keep_ms -> 1|0
-- From now on, for that long, messages to this consumer are sent at any hour. 1 where one has waited.
function verbs.consumer_wrote()
  local keep = tonumber(a.keep_ms)
  if keep <= 0 then return 0 end
  local until_now = redis.call('PTTL', 'dcb:wrote:' .. a.lane)
  if until_now < keep then redis.call('SET', 'dcb:wrote:' .. a.lane, now, 'PX', keep) end
  local head = redis.call('LINDEX', 'dcb:lane:' .. a.lane, 0)
  if not head or string.sub(head, 1, 2) ~= 'm:' then return 0 end
  local line = aside.field(head, F.line)
  local kind = string.sub(line, 1, 2)
  if kind ~= 'n-' and kind ~= 'w-' then return 0 end
  return aside.try(head, let_go, string.sub(head, 3), line) and 1 or 0
end
