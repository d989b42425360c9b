-- ---------------------------------------------------------------- interaction events: split, put, delivered
--
--   dcb:interactions       batches as they came, and events of our own, in order, until they are split
--   dcb:splitter           who splits now; dcb:splitter-until   ms when that ends; dcb:split-woken   ms when a job for it
--                          was queued
--   dcb:e:<event>          one event: "<ms received> <sequence> <JSON>"; dcb:events   all of them, by ms received
--   dcb:ed:<event>         subscriber -> "<how it ended> <ms> <attempts>"
--   dcb:i:<interaction>    its events so far, ms of its STARTED and FINISHED, its last event (fields.py)
--   dcb:alone              interaction -> ms when a missing STARTED or FINISHED is noticed

local LOOK_AGAIN = 60000 -- ms until an event that is too old, and that somebody waits for, is looked at again

-- Who splits now. A lease by the ledger's time: a key that expires by Redis' clock would outlive it after a step back.
local function splitter()
  local till = tonumber(redis.call('GET', 'dcb:splitter-until') or '')
  if till and till <= now then redis.call('DEL', 'dcb:splitter', 'dcb:splitter-until') end
  return redis.call('GET', 'dcb:splitter')
end

local function wake_splitter()
  if splitter() then return end -- it looks again before it leaves
  local woken = tonumber(redis.call('GET', 'dcb:split-woken') or '')
  if woken and woken <= now and now - woken < REQUEUE then return end
  redis.call('SET', 'dcb:split-woken', now, 'PX', REQUEUE)
  queue_job('split', 'split-' .. redis.call('HINCRBY', 'dcb:counts', 'split_jobs', 1) .. '-' .. now, 'interactions')
end

-- batch_put id endpoint trace body keep_ms: an interactions webhook, in order of arrival, until it is split.
function verbs.batch_put()
  if not redis.call('SET', 'dcb:batch:' .. ARGV[3], now, 'NX', 'PX', ARGV[7]) then return 'again' end
  redis.call('XADD', 'dcb:interactions', '*', 'id', ARGV[3], 'endpoint', ARGV[4], 'trace', ARGV[5], 'body', ARGV[6])
  redis.call('HINCRBY', 'dcb:counts', 'interaction_batches', 1)
  wake_splitter()
  return 'new'
end

-- split_take token lease_ms limit -> entries of the stream; none where there are none, or somebody else has them.
-- They stay where they are until their events are put, so whoever dies in between leaves them to the next.
function verbs.split_take()
  redis.call('DEL', 'dcb:split-woken')
  local holder = splitter()
  if holder and holder ~= ARGV[3] then return {} end
  local entries = redis.call('XRANGE', 'dcb:interactions', '-', '+', 'COUNT', ARGV[5])
  if #entries == 0 then
    redis.call('DEL', 'dcb:splitter', 'dcb:splitter-until')
  else
    redis.call('SET', 'dcb:splitter', ARGV[3], 'PX', ARGV[4])
    redis.call('SET', 'dcb:splitter-until', now + tonumber(ARGV[4]), 'PX', ARGV[4])
  end
  return entries
end

-- split_bury entry letter what reason raw dead_keep_ms: a batch that cannot be split is a dead letter, and no longer
-- recognised as one that came before.
function verbs.split_bury()
  local found = redis.call('XRANGE', 'dcb:interactions', ARGV[3], ARGV[3])[1]
  if not found then return 'gone' end
  local fields = found[2]
  for i = 1, #fields, 2 do
    if fields[i] == 'id' then redis.call('DEL', 'dcb:batch:' .. fields[i + 1]) end
  end
  bury(ARGV[4], ARGV[5], '', ARGV[6], ARGV[7], tonumber(ARGV[8]))
  redis.call('XDEL', 'dcb:interactions', ARGV[3])
  return 'new'
end

local function gap(kind, event)
  redis.call('HINCRBY', 'dcb:counts', 'gap_' .. kind, 1)
  tell('interaction.gap', 'kind', kind, 'of', event)
end

-- What an interaction's events say of each other; the number of this one. Nothing is put in another order for it.
local function place_in_interaction(digest, event, part, keep_ms, partner_ms)
  local key = 'dcb:i:' .. digest
  local n = redis.call('HINCRBY', key, F.events, 1)
  if part ~= '' then
    local other = part == F.started_at and F.finished_at or F.started_at
    local f = redis.call('HMGET', key, part, other)
    redis.call('HSET', key, part, now, F.last_event, event)
    if f[1] then
      gap('repeated', event)
    elseif f[2] then
      redis.call('ZREM', 'dcb:alone', digest)
    else
      if part == F.finished_at then gap('finished_first', event) end
      redis.call('ZADD', 'dcb:alone', now + partner_ms, digest)
    end
  end
  redis.call('PEXPIRE', key, keep_ms)
  return n
end

local function put_delivery(id, received_at, lane, waiting)
  local name = subscriber_of(id)
  redis.call('HSET', 'dcb:t:' .. id, F.state, T.waiting, F.job, 'deliver', F.lane, lane, F.channel_id, SUBSCRIBER .. name,
    F.accepted_at, received_at, F.attempts, 0)
  local mine = waiting[name] or {backlog = {}, turn = {}}
  waiting[name] = mine
  mine.backlog[#mine.backlog + 1] = received_at
  mine.backlog[#mine.backlog + 1] = id
  if lane == '' or redis.call('RPUSH', 'dcb:lane:' .. lane, 't:' .. id) == 1 then
    mine.turn[#mine.turn + 1] = received_at
    mine.turn[#mine.turn + 1] = id
  end
end

local function put_in_queues(waiting)
  for name, mine in pairs(waiting) do
    redis.call('ZADD', 'dcb:backlog:' .. name, unpack(mine.backlog))
    redis.call('HINCRBY', 'dcb:s:' .. name, 'accepted', #mine.backlog / 2)
    if #mine.turn > 0 then redis.call('ZADD', 'dcb:turn:' .. name, unpack(mine.turn)) end
    let_go(name)
  end
end

-- events_stored keep_ms partner_ms count entry… then for each event:
--   id received_ms interaction part json count, then count times: subscriber lane
-- The entries of the stream are done with, since all of their events are put. `interaction` is a digest, or "" for
-- none; part is "s" for STARTED, "f" for FINISHED, else "".
-- -> how many were new
function verbs.events_stored()
  local keep_ms, partner_ms, entries, fresh, waiting = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), 0, {}
  local i = 6 + entries
  while i <= #ARGV do
    local id, received_at, digest, count = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 5])
    if redis.call('EXISTS', 'dcb:e:' .. id) == 1 then
      redis.call('HINCRBY', 'dcb:counts', 'events_again', 1)
    else
      local n = 0
      if digest ~= '' then n = place_in_interaction(digest, id, ARGV[i + 3], keep_ms, partner_ms) end
      redis.call('SET', 'dcb:e:' .. id, received_at .. ' ' .. n .. ' ' .. ARGV[i + 4])
      redis.call('ZADD', 'dcb:events', received_at, id)
      for at = i + 6, i + 5 + 2 * count, 2 do put_delivery(id .. '-' .. ARGV[at], received_at, ARGV[at + 1], waiting) end
      fresh = fresh + 1
    end
    i = i + 6 + 2 * count
  end
  redis.call('HINCRBY', 'dcb:counts', 'events_accepted', fresh)
  put_in_queues(waiting)
  if entries > 0 then redis.call('XDEL', 'dcb:interactions', unpack(ARGV, 6, 5 + entries)) end
  return fresh
end

-- events_replay subscriber then (event lane)… -> for each "new", "waiting" or "gone". Behind what is new.
function verbs.events_replay()
  local name, answers = ARGV[3], {}
  for i = 4, #ARGV, 2 do
    local id = ARGV[i] .. '-' .. name
    local event = redis.call('GET', 'dcb:e:' .. ARGV[i])
    if not event then
      answers[#answers + 1] = 'gone'
    elseif redis.call('EXISTS', 'dcb:t:' .. id) == 1 then
      answers[#answers + 1] = 'waiting'
    else
      redis.call('HSET', 'dcb:t:' .. id, F.state, T.waiting, F.job, 'deliver', F.lane, ARGV[i + 1],
        F.channel_id, SUBSCRIBER .. name, F.accepted_at, now, F.attempts, 0, F.replayed, 1)
      redis.call('ZADD', 'dcb:backlog:' .. name, now, id)
      redis.call('HINCRBY', 'dcb:s:' .. name, 'accepted', 1)
      redis.call('HDEL', 'dcb:ed:' .. ARGV[i], name)
      lane_push(ARGV[i + 1], 't:' .. id)
      answers[#answers + 1] = 'new'
    end
  end
  return answers
end

-- ---------------------------------------------------------------- how a delivery ends

-- delivered id -> "delivered", or "stale" where it has ended. Nobody's claim is asked: the answer of a worker that was
-- given up for dead is still a fact.
function verbs.delivered()
  local id = ARGV[3]
  local state, name = redis.call('HGET', 'dcb:t:' .. id, F.state), subscriber_of(id)
  if not state then return 'stale' end
  if state == T.waiting then redis.call('ZREM', 'dcb:turn:' .. name, id) end
  redis.call('HSET', 'dcb:s:' .. name, 'ok', now)
  subscriber_answered(name, id)
  delivery_leaves(id, 'delivered')
  return 'delivered'
end

-- delivery_failed id token code delay_ms spends means threshold first_ms most_ms disable_ms dead_keep_ms share
--   delay_ms: -1 is the last attempt; spends: 0 where it does not count as one; means: "event" where it says nothing
--   against the subscriber, "bug" where that was not spoken to, "later" where it is only to be waited for, "sick" for
--   its breaker, "fault" to open that at once;
--   disable_ms: failures for so long disable the subscriber, 0 never, -1 at once.
-- A probe that fails says nothing about its event either: it spends no attempt, and the next probe is another.
-- -> "waiting", "dead", or "stale"
function verbs.delivery_failed()
  local id, key, code, delay, means = ARGV[3], 'dcb:t:' .. ARGV[3], ARGV[5], tonumber(ARGV[6]), ARGV[8]
  if redis.call('HGET', key, F.token) ~= ARGV[4] then return 'stale' end
  local name = subscriber_of(id)
  local account, own, disable_ms = SUBSCRIBER .. name, 'dcb:s:' .. name, tonumber(ARGV[12])
  local probe = redis.call('HGET', 'dcb:breaker:' .. account, 'ref') == id
  local sick = means == 'sick' or means == 'fault'
  if means == 'event' then
    subscriber_answered(name, id)
  elseif means ~= 'bug' then
    if means == 'later' and redis.call('EXISTS', 'dcb:pause:' .. account) == 1 then redis.call('HSET', own, 'gently', 1) end
    redis.call('HSETNX', own, 'bad', now)
    local bad = tonumber(redis.call('HGET', own, 'bad'))
    if disable_ms ~= 0 and now - bad >= disable_ms then disable(name, disable_ms < 0 and code or 'failing') end
  end
  if sick then
    local first, most = tonumber(ARGV[10]), tonumber(ARGV[11])
    if trouble(account, id, code, means == 'fault', tonumber(ARGV[9]), first, most, tonumber(ARGV[14])) == 'opened' then
      tell('subscriber.failing', 'subscriber', name, 'code', code)
    end
  end
  if probe and means ~= 'event' and means ~= 'bug' then
    redis.call('HINCRBY', key, F.attempts, -1)
    redis.call('HSET', key, F.state, T.waiting, F.last_code, code)
    redis.call('HDEL', key, F.token, F.lease_ends)
    turn_again(id, now + RETRIES_WAIT)
    return T.waiting
  end
  if delay < 0 then
    bury('t-' .. id, 'delivery', account, code, redis.call('GET', 'dcb:e:' .. event_of(id)) or '', tonumber(ARGV[13]))
    delivery_leaves(id, 'dead')
    if string.sub(id, 1, 4) == 'evt_' then
      tell('delivery.dead', 'subscriber', name, 'code', code, 'of', event_of(id))
    end
    return T.dead
  end
  if ARGV[7] == '0' then redis.call('HINCRBY', key, F.attempts, -1) end
  task_waits(id, delay, code)
  delivery_landed(id)
  return T.waiting
end

-- delivery_again event subscriber lane value: the delivery of a dead letter is put back, with its event where that has
-- been forgotten -> "new" or "waiting"
function verbs.delivery_again()
  local event, at = ARGV[3], string.match(ARGV[6], '^%d+')
  if redis.call('SET', 'dcb:e:' .. event, ARGV[6], 'NX') then redis.call('ZADD', 'dcb:events', at, event) end
  ARGV = {'events_replay', iso, ARGV[4], event, ARGV[5]}
  return verbs.events_replay()[1]
end

-- ---------------------------------------------------------------- for the sweep

local function notice_missing_partners()
  for _, digest in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:alone', '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', 'dcb:alone', digest)
    local f = redis.call('HMGET', 'dcb:i:' .. digest, F.started_at, F.finished_at, F.last_event)
    if f[3] and not (f[1] and f[2]) then gap(f[1] and 'never_finished' or 'never_started', f[3]) end
  end
end

local function is_awaited(event)
  for _, name in ipairs(redis.call('SMEMBERS', 'dcb:subscribers')) do
    if redis.call('ZSCORE', 'dcb:backlog:' .. name, event .. '-' .. name) then return true end
  end
  return false
end

-- A replay waits by when it was asked for, so its event may be older than all that the backlogs tell of.
local function forget_events(before)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:events', '-inf', '(' .. before, 'LIMIT', 0, 200)) do
    if is_awaited(id) then
      redis.call('ZADD', 'dcb:events', before + LOOK_AGAIN, id)
    else
      redis.call('DEL', 'dcb:e:' .. id, 'dcb:ed:' .. id)
      redis.call('ZREM', 'dcb:events', id)
    end
  end
end

-- events_sweep keep_ms: beside the sweep. Events are kept for keep_ms, and as long as somebody waits for them.
function verbs.events_sweep()
  if redis.call('XLEN', 'dcb:interactions') > 0 then wake_splitter() end
  notice_missing_partners()
  forget_events(string.format('%.0f', math.min(now - tonumber(ARGV[3]), look_at_subscribers())))
  return 'ok'
end
