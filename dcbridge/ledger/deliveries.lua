-- ---------------------------------------------------------------- deliveries: an event on its way to a subscriber

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
    dispatch_deliveries(name)
  end
end

-- @verb events_replay subscriber (event lane)… -> {new|waiting|gone…}
-- Behind what is new.
function verbs.events_replay()
  local name, answers = a.subscriber, {}
  for i = each.from, #ARGV, each.size do
    local id = each.event .. '-' .. name
    local event = redis.call('GET', 'dcb:e:' .. each.event)
    if not event then
      answers[#answers + 1] = 'gone'
    elseif redis.call('EXISTS', 'dcb:t:' .. id) == 1 then
      answers[#answers + 1] = 'waiting'
    else
      redis.call('HSET', 'dcb:t:' .. id, F.state, T.waiting, F.job, 'deliver', F.lane, each.lane,
        F.channel_id, SUBSCRIBER .. name, F.accepted_at, now, F.attempts, 0, F.replayed, 1)
      redis.call('ZADD', 'dcb:backlog:' .. name, now, id)
      redis.call('HINCRBY', 'dcb:s:' .. name, 'accepted', 1)
      redis.call('HDEL', 'dcb:ed:' .. each.event, name)
      lane_push(each.lane, 't:' .. id)
      answers[#answers + 1] = 'new'
    end
  end
  return answers
end

-- ---------------------------------------------------------------- how a delivery ends

-- @verb delivered id -> delivered|stale
-- "stale" where it has ended. Nobody's claim is asked: the answer of a worker that was given up for dead is still a fact.
function verbs.delivered()
  local id = a.id
  local state, name = redis.call('HGET', 'dcb:t:' .. id, F.state), subscriber_of(id)
  if not state then return 'stale' end
  if state == T.waiting then redis.call('ZREM', 'dcb:turn:' .. name, id) end
  redis.call('HSET', 'dcb:s:' .. name, 'ok', now)
  subscriber_answered(name, id)
  delivery_leaves(id, 'delivered')
  return 'delivered'
end

-- @verb delivery_failed id token code delay_ms spends means threshold first_ms most_ms disable_ms dead_keep_ms share -> waiting|dead|stale
-- delay_ms: -1 is the last attempt; spends: 0 where it does not count as one; means: "event" where it says nothing
-- against the subscriber, "bug" where that was not spoken to, "later" where it is only to be waited for, "sick" for
-- its breaker, "fault" to open that at once; disable_ms: failures for so long disable the subscriber, 0 never, -1 at once.
-- A probe that fails says nothing about its event either: it spends no attempt, and the next probe is another.
function verbs.delivery_failed()
  local id, key, code, delay, means = a.id, 'dcb:t:' .. a.id, a.code, tonumber(a.delay_ms), a.means
  if redis.call('HGET', key, F.token) ~= a.token then return 'stale' end
  local name = subscriber_of(id)
  local account, own, disable_ms = SUBSCRIBER .. name, 'dcb:s:' .. name, tonumber(a.disable_ms)
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
    local first, most = tonumber(a.first_ms), tonumber(a.most_ms)
    if record_failure(account, id, code, means == 'fault', tonumber(a.threshold), first, most, tonumber(a.share)) == 'opened' then
      emit('subscriber.failing', 'subscriber', name, 'code', code)
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
    dead_letter('t-' .. id, K.delivery, account, code, redis.call('GET', 'dcb:e:' .. event_of(id)) or '', tonumber(a.dead_keep_ms))
    delivery_leaves(id, 'dead')
    if string.sub(id, 1, 4) == 'evt_' then
      emit('delivery.dead', 'subscriber', name, 'code', code, 'of', event_of(id))
    end
    return T.dead
  end
  if a.spends == '0' then redis.call('HINCRBY', key, F.attempts, -1) end
  tasks.waits(id, delay, code)
  release_delivery_slot(id)
  return T.waiting
end

-- @verb delivery_again event subscriber lane value -> new|waiting
-- The delivery of a dead letter is put back, with its event where that has been forgotten.
function verbs.delivery_again()
  local event, at = a.event, string.match(a.value, '^%d+')
  if redis.call('SET', 'dcb:e:' .. event, a.value, 'NX') then redis.call('ZADD', 'dcb:events', at, event) end
  ARGV = {'events_replay', iso, a.subscriber, event, a.lane}
  return verbs.events_replay()[1]
end
