-- ---------------------------------------------------------------- interaction events: split, put
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

-- @verb batch_put id endpoint trace body keep_ms -> new|again
-- An interactions webhook, in order of arrival, until it is split.
function verbs.batch_put()
  if not redis.call('SET', 'dcb:batch:' .. a.id, now, 'NX', 'PX', a.keep_ms) then return 'again' end
  redis.call('XADD', 'dcb:interactions', '*', 'id', a.id, 'endpoint', a.endpoint, 'trace', a.trace, 'body', a.body)
  redis.call('HINCRBY', 'dcb:counts', 'interaction_batches', 1)
  wake_splitter()
  return 'new'
end

-- @verb split_take token lease_ms limit -> {entry…}
-- Entries of the stream; none where there are none, or somebody else has them. They stay where they are until their events
-- are put, so whoever dies in between leaves them to the next.
function verbs.split_take()
  redis.call('DEL', 'dcb:split-woken')
  local holder = splitter()
  if holder and holder ~= a.token then return {} end
  local entries = redis.call('XRANGE', 'dcb:interactions', '-', '+', 'COUNT', a.limit)
  if #entries == 0 then
    redis.call('DEL', 'dcb:splitter', 'dcb:splitter-until')
  else
    redis.call('SET', 'dcb:splitter', a.token, 'PX', a.lease_ms)
    redis.call('SET', 'dcb:splitter-until', now + tonumber(a.lease_ms), 'PX', a.lease_ms)
  end
  return entries
end

-- @verb split_dead_letter entry letter kind reason raw dead_keep_ms -> new|gone
-- A batch that cannot be split is a dead letter, and no longer recognised as one that came before.
function verbs.split_dead_letter()
  local found = redis.call('XRANGE', 'dcb:interactions', a.entry, a.entry)[1]
  if not found then return 'gone' end
  local fields = found[2]
  for i = 1, #fields, 2 do
    if fields[i] == 'id' then redis.call('DEL', 'dcb:batch:' .. fields[i + 1]) end
  end
  dead_letter(a.letter, a.kind, '', a.reason, a.raw, tonumber(a.dead_keep_ms))
  redis.call('XDEL', 'dcb:interactions', a.entry)
  return 'new'
end

local function gap(kind, event)
  redis.call('HINCRBY', 'dcb:counts', 'gap_' .. kind, 1)
  emit('interaction.gap', 'kind', kind, 'of', event)
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

-- @verb events_stored keep_ms partner_ms entries rest… -> count
-- rest: as many entries of the stream, which are done with since all of their events are put; then for each event
--   id received_ms interaction part json count, then count times: subscriber lane
-- `interaction` is a digest, or "" for none; part is "s" for STARTED, "f" for FINISHED, else "". -> how many were new
function verbs.events_stored()
  local keep_ms, partner_ms, entries, fresh, waiting = tonumber(a.keep_ms), tonumber(a.partner_ms), tonumber(a.entries), 0, {}
  local i = each.from + entries
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
  if entries > 0 then redis.call('XDEL', 'dcb:interactions', unpack(ARGV, each.from, each.from - 1 + entries)) end
  return fresh
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

-- @verb events_sweep keep_ms -> ok
-- Beside the sweep. Events are kept for keep_ms, and as long as somebody waits for them.
function verbs.events_sweep()
  if redis.call('XLEN', 'dcb:interactions') > 0 then wake_splitter() end
  notice_missing_partners()
  forget_events(string.format('%.0f', math.min(now - tonumber(a.keep_ms), look_at_subscribers())))
  return 'ok'
end
