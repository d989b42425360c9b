-- ---------------------------------------------------------------- the breaker of a provider's account
--
--   dcb:breaker:<provider> open since, why, next probe, wait before it, ref that probes, ref that probed last;
--                          dcb:breakers their names
--   dcb:failing:<provider> conversation -> ms when it began to fail; it leaves with its next success
--   dcb:took:<provider>    successes, a sliding count: the current period, successes in it and in the one before (fields.py)
--   dcb:openings:<provider> when it was opened, during the last hour, and the code that did it
--   dcb:parked:<provider>  ref -> ms accepted, while the breaker is open
--
-- What is counted is conversations, not attempts: one that fails again and again is one conversation, and has counted
-- when it began. So messages to a few sick recipients do not look like a sick provider. A subscriber of events is a
-- provider as well.

local LATELY = 10000 -- ms for which successes are counted
local FAILING = 600000 -- ms after the last failure until those that fail are forgotten
local STREAK = 3600000 -- ms for which one streak of failures of a conversation counts once
local HOUR = 3600000

local took = {} -- provider -> successes in this call, not yet counted

-- One write for all successes of a call.
local function count_taken(provider)
  local key, period = 'dcb:took:' .. provider, math.floor(now / LATELY)
  local f = redis.call('HMGET', key, F.period, F.in_period)
  local k = tonumber(f[1])
  if k == period then
    redis.call('HSET', key, F.in_period, (tonumber(f[2]) or 0) + took[provider], F.last_success_at, now)
  else
    redis.call('HSET', key, F.period, period, F.in_period, took[provider], F.in_period_before, k == period - 1 and f[2] or 0,
      F.last_success_at, now)
  end
  took[provider] = nil
end

-- Successes lately, and ms of the last one of all.
local function taken_lately(provider)
  local f = redis.call('HMGET', 'dcb:took:' .. provider, F.period, F.in_period, F.in_period_before, F.last_success_at)
  if not f[1] then return 0, 0 end
  local period, k = math.floor(now / LATELY), tonumber(f[1])
  local share = 1 - (now % LATELY) / LATELY -- of the period before, that is not over yet
  local current, before, last = tonumber(f[2]) or 0, tonumber(f[3]) or 0, tonumber(f[4]) or 0
  if k == period then return current + before * share, last end
  if k == period - 1 then return current * share, last end
  return 0, last
end

local function count_all_taken()
  for provider in pairs(took) do count_taken(provider) end
end

local function conversation_of(ref)
  local kind = string.match(ref, '^[eo][vw][tn]_') and 't:' or 'm:'
  local lane = aside.field(kind .. ref, F.lane)
  return lane ~= '' and lane or ref
end

-- The provider answered about this message: its account works.
local function breaker_heals(provider, ref, conversation)
  took[provider] = (took[provider] or 0) + 1
  local key, failing = 'dcb:breaker:' .. provider, 'dcb:failing:' .. provider
  if redis.call('EXISTS', key, failing) == 0 then return false end
  redis.call('ZREM', failing, conversation or conversation_of(ref))
  if redis.call('DEL', key) == 0 then return false end
  blocked_read[provider] = nil
  redis.call('HSET', 'dcb:took:' .. provider, 'closed', now)
  redis.call('HINCRBY', 'dcb:counts', 'breaker_closed', 1)
  return true
end

local function provider_took(ref, channel, conversation)
  local limits = routes.of(ref, channel)
  if limits then breaker_heals(limits.provider, ref, conversation) end
end

-- @verb record_success provider ref -> ok
-- The provider answered about this message, so its account works.
function verbs.record_success()
  breaker_heals(a.provider, a.ref)
  return 'ok'
end

-- Is it the provider that fails, and not a few of its recipients? Counted are the conversations that began to fail
-- lately, or since the last success where that is longer ago; those that opened it once do not open it again.
local function is_sick(provider, threshold, share)
  if took[provider] then count_taken(provider) end
  local successes, last = taken_lately(provider)
  local closed = tonumber(redis.call('HGET', 'dcb:took:' .. provider, 'closed')) or 0
  local since = math.max(math.min(now - LATELY, last), closed)
  local failing = redis.call('ZCOUNT', 'dcb:failing:' .. provider, since, '+inf')
  return failing >= threshold and failing >= share * (failing + successes)
end

local function open_breaker(provider, code, first)
  local openings = 'dcb:openings:' .. provider
  redis.call('HSET', 'dcb:breaker:' .. provider, 'since', now, 'why', code, 'wait', first, 'probe', now + first)
  redis.call('SADD', 'dcb:breakers', provider)
  redis.call('HINCRBY', 'dcb:counts', 'breaker_opened', 1)
  redis.call('ZADD', openings, now, now .. '-' .. redis.call('ZCARD', openings) .. ' ' .. string.sub(code, 1, 60))
  redis.call('ZREMRANGEBYSCORE', openings, '-inf', now - HOUR)
  redis.call('PEXPIRE', openings, HOUR)
  blocked_read[provider] = nil
  if limits_of('providers/' .. provider) then routes.look_at_lines() end
end

-- A send failed for no fault of the message. -> what the breaker is now
-- A fault of the account opens the breaker at once. Anything else does when at least `threshold` conversations fail, and
-- they are at least `share` of those that the account carried within the time.
-- A failure while it is open doubles the wait before the next probe, if it was the probe's and its conversation is not
-- known to fail while messages wait: one sick recipient must not keep everybody waiting.
local function record_failure(provider, ref, code, at_once, threshold, first, most, share)
  local key, failing = 'dcb:breaker:' .. provider, 'dcb:failing:' .. provider
  local f = redis.call('HMGET', key, 'wait', 'ref')
  redis.call('ZREMRANGEBYSCORE', failing, '-inf', now - STREAK)
  local began = redis.call('ZADD', failing, 'NX', now, conversation_of(ref)) == 1
  redis.call('PEXPIRE', failing, FAILING)
  if f[1] then
    if f[2] ~= ref then return 'open' end
    local alone = redis.call('EXISTS', 'dcb:parked:' .. provider) == 0 -- a lookup probed: no message waits for it
    local wait = tonumber(f[1]) or first
    local pause = (began or alone) and math.min(most, wait * 2) or wait
    redis.call('HSET', key, 'wait', pause, 'probe', now + pause, 'why', code, 'last', ref)
    redis.call('HDEL', key, 'ref')
    return 'open'
  end
  if not at_once and not (began and is_sick(provider, threshold, share)) then return 'closed' end
  open_breaker(provider, code, first)
  return 'opened'
end

-- @verb record_failure provider ref code at_once threshold first_ms most_ms share -> open|opened|closed
function verbs.record_failure()
  return record_failure(a.provider, a.ref, a.code, a.at_once == '1', tonumber(a.threshold), tonumber(a.first_ms),
    tonumber(a.most_ms), tonumber(a.share))
end

-- @verb may_speak provider ref lease_ms -> go|no
-- For an interface whose requests wait in no line: while its breaker is open, one at a time may try.
function verbs.may_speak()
  local key = 'dcb:breaker:' .. a.provider
  local probe = redis.call('HGET', key, 'probe')
  if not probe then return 'go' end
  if tonumber(probe) > now then return 'no' end
  redis.call('HSET', key, 'probe', now + tonumber(a.lease_ms), 'ref', a.ref)
  return 'go'
end
