-- ---------------------------------------------------------------- what this version cannot read
--
--   dcb:aside              member -> ms when it was set aside: "m:<ref>", "t:<id>", or "r:<ref>" for a receipt that is owed
--   dcb:aside:<member>     why, channel, lane, at
--
-- A newer version wrote it before a rollback, or it is damaged: a key of another type, a field that is missing or no
-- number, a state or a job that is not known here. It leaves whatever is looked through again and again, so that the
-- others go on. It stays as it is for 30 days, and `dcbridge aside` shows it, puts it back, or drops it.

local SEARCHED = 500 -- keys that one sweep looks at to find a lane

local aside = {
  KEPT = 2592000000, -- ms
  required = {
    m = {F.channel_id, F.lane, F.message_id, F.accepted_at, F.expires_at, F.attempts, F.part},
    t = {F.job, F.lane, F.channel_id, F.accepted_at, F.attempts},
  },
  receipts = {Delivered = true, Failed = true, Removed = true},
}

function aside.is_number(value)
  return value and #value < 24 and string.match(value, '^-?%d+%.?%d*$') ~= nil
end

-- Why an entry cannot be read, or nil.
function aside.why(member)
  local kind = string.sub(member, 1, 1)
  local states = STATES[kind]
  if not states then return 'this version does not know what it is' end
  local all = redis.pcall('HGETALL', 'dcb:' .. member)
  if all.err then return 'its key is of another type' end
  if #all == 0 then return nil end
  local f = {}
  for i = 1, #all, 2 do
    f[all[i]] = all[i + 1]
    local value = all[i + 1]
    if NUMBERS[all[i]] and not aside.is_number(value) then
      return 'its field ' .. all[i] .. ' is no number'
    end
  end
  local state, job, payload = f[F.state], f[F.job], f[F.payload_ref]
  if not state then return 'it has no state' end
  if not states[state] then return 'this version does not know its state' end
  if TERMINAL[state] or state == T.done or state == T.dead then return nil end
  for _, name in ipairs(aside.required[kind]) do
    if not f[name] then return 'it has no field ' .. name end
  end
  if job and not JOBS[job] then return 'this version does not know its job' end
  local beside = kind == 'm' and payload and 'dcb:p:' .. payload or job == 'deliver' and 'dcb:e:' .. string.sub(member, 3, 30)
  local content = beside and redis.pcall('GET', beside)
  if type(content) == 'table' and content.err then return 'the key of its content is of another type' end
  if kind == 'm' and payload and not content then return 'its content is gone' end
  return nil
end

-- Why a receipt that is owed cannot be read, or nil. `f`: what its entry says of it, as
-- verbs.aside_back reads it.
function aside.why_receipt(f)
  for i, name in ipairs({F.message_id, F.sender_id, F.to_id, F.receipt_status, F.accepted_at}) do
    if not f[i] then return 'it has no field ' .. name end
  end
  if not aside.receipts[f[4]] then return 'this version does not know its status' end
  for i, name in ipairs({F.accepted_at, F.receipt_tries, F.reason}) do
    local value = f[4 + i]
    if value and value ~= '' and not (#value < 24 and string.match(value, '^%d+$')) then return 'its field ' .. name .. ' is no number' end
  end
  return nil
end

function aside.field(member, name)
  local value = redis.pcall('HGET', 'dcb:' .. member, name)
  return type(value) == 'string' and value or ''
end

-- Out of a lane: whoever is behind it comes next.
function aside.leave_lane(lane, member)
  local key = 'dcb:lane:' .. lane
  local head = redis.pcall('LINDEX', key, 0)
  if type(head) ~= 'string' then return end
  redis.call('LREM', key, 1, member)
  local follows = head == member and redis.call('LINDEX', key, 0)
  if follows then aside.try(follows, aside.ready, follows) end
end

-- A delivery counts as dead in the books of its subscriber.
function aside.leave_subscriber(id)
  local name = string.sub(id, 30)
  if redis.call('ZREM', 'dcb:backlog:' .. name, id) == 1 then redis.call('HINCRBY', 'dcb:s:' .. name, 'dead', 1) end
  redis.call('ZREM', 'dcb:turn:' .. name, id)
  redis.call('ZREM', 'dcb:flight:p-subscribers/' .. name, id)
end

-- Out of all that is looked through. An agent message stays in its books as in flight, a receipt is no longer owed.
function aside.put(member, why, channel)
  local kind, id, entry = string.sub(member, 1, 1), string.sub(member, 3), member
  if kind == 'r' then entry = 'm:' .. id end
  channel = channel or aside.field(entry, F.channel_id)
  local lane = redis.pcall('HGET', 'dcb:' .. entry, F.lane)
  if type(lane) ~= 'string' then lane = nil end
  if redis.call('ZADD', 'dcb:aside', 'NX', now, member) == 1 then
    redis.call('HINCRBY', 'dcb:counts', 'set_aside', 1)
    redis.call('HSET', 'dcb:aside:' .. member, 'why', string.sub(why, 1, 120), 'channel', channel,
      'lane', kind ~= 'r' and lane or '', 'at', now)
  end
  if kind == 'r' then
    redis.call('ZREM', 'dcb:receipts:' .. channel, id)
    redis.call('PEXPIRE', 'dcb:' .. entry, aside.KEPT)
    return
  end
  redis.call('ZREM', 'dcb:due', member)
  if kind == 'm' then aside.stop_waiting(id, channel) end
  if kind == 't' and string.match(id, '^%l%l%l_') then aside.leave_subscriber(id) end
  if lane then return aside.leave_lane(lane, member) end
  redis.call('HSET', 'dcb:watched', 'lanes', 0)
end

-- Set aside what cannot be read; false where it can.
function aside.unless_sound(member)
  local why = aside.why(member)
  if why then aside.put(member, why) end
  return why ~= nil
end

-- Do something to a member that this call is about only by the way: one that cannot be read must not end the call.
-- -> true and the answer, or false where it was set aside
function aside.try(member, work, ...)
  local ok, answer = pcall(work, ...)
  if ok then return true, answer end
  if not aside.unless_sound(member) then error(answer, 0) end
  return false
end

-- Do something that is about other keys than an entry's. -> true and the answer, or false where one of them is of another
-- type than it has to be.
function aside.unless_typed(work, ...)
  local ok, answer = pcall(work, ...)
  if ok then return true, answer end
  local problem = tostring(type(answer) == 'table' and answer.err or answer)
  if not string.find(problem, 'WRONGTYPE', 1, true) then error(answer, 0) end
  return false
end

-- A lane whose head was set aside without its lane, which could not be read: the next to come finds out, or the sweep, and
-- whoever is the first now goes.
function aside.passed_over(lane, member)
  local key, passed = 'dcb:lane:' .. lane, false
  local head = redis.call('LINDEX', key, 0)
  while head and head ~= member and redis.call('ZSCORE', 'dcb:aside', head) do
    redis.call('LPOP', key)
    head, passed = redis.call('LINDEX', key, 0), true
  end
  if passed and head and head ~= member then aside.try(head, aside.ready, head) end
  return passed and head == member
end

-- For the sweep, while one was set aside without its lane: some of all keys in each, until every lane was looked at.
function aside.look_for_lanes()
  local cursor = redis.call('HGET', 'dcb:watched', 'lanes')
  if not cursor then return end
  local page = redis.call('SCAN', cursor, 'MATCH', 'dcb:lane:*', 'COUNT', SEARCHED)
  for _, key in ipairs(page[2]) do
    aside.unless_typed(aside.passed_over, string.sub(key, 10), nil)
  end
  if page[1] == '0' then
    redis.call('HDEL', 'dcb:watched', 'lanes')
  else
    redis.call('HSET', 'dcb:watched', 'lanes', page[1])
  end
end

-- The answer of a verb that failed, where that is because the entry it is about cannot be read; else nil.
function aside.answer(verb, id)
  for _, member in ipairs({'m:' .. tostring(id), 't:' .. tostring(id)}) do
    if redis.call('EXISTS', 'dcb:' .. member) == 1 and aside.unless_sound(member) then
      return (verb == 'claim' or verb == 'lookup_claim' or verb == 'task_claim') and {'aside'} or 'aside'
    end
  end
  return nil
end

-- What nobody has put back for 30 days is forgotten. An agent message counts as failed: nobody has informed the agent.
function aside.forget(member)
  local kind, id = string.sub(member, 1, 1), string.sub(member, 3)
  local channel = redis.call('HGET', 'dcb:aside:' .. member, 'channel') or ''
  redis.call('ZREM', 'dcb:aside', member)
  redis.call('DEL', 'dcb:aside:' .. member)
  if kind == 'm' then
    if redis.call('ZREM', 'dcb:open:' .. channel, id) == 1 then
      redis.call('HINCRBY', 'dcb:books:' .. channel, 'failed', 1)
      local by = aside.field(member, F.booked_by)
      if by ~= '' and redis.call('ZREM', 'dcb:with:' .. by .. '/' .. channel, id) == 1 then
        redis.call('HINCRBY', 'dcb:books:' .. channel, by .. '|failed', 1)
      end
    end
    if redis.call('EXISTS', 'dcb:pn:' .. id) == 0 then redis.call('DEL', 'dcb:p:' .. id) end -- other copies may need it
  end
  if kind == 't' then redis.call('ZREM', 'dcb:tasks:' .. aside.field(member, F.job), id) end
  if kind ~= 'r' then redis.call('DEL', 'dcb:' .. member) end
end

function aside.sweep()
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:aside', '-inf', now - aside.KEPT, 'LIMIT', 0, 20)) do
    aside.forget(member)
  end
end

-- @verb aside member why channel -> aside|gone
-- A worker cannot read what it has claimed, or a receipt that it took.
function verbs.aside()
  local member = a.member
  local entry = string.gsub(member, '^r:', 'm:')
  if redis.call('EXISTS', 'dcb:' .. entry) == 0 then return 'gone' end
  aside.put(member, a.why, a.channel ~= '' and a.channel or nil)
  return 'aside'
end

-- @verb aside_back member -> back|gone|why it still cannot be read
function verbs.aside_back()
  local member = a.member
  local kind, id = string.sub(member, 1, 1), string.sub(member, 3)
  if not redis.call('ZSCORE', 'dcb:aside', member) then return 'gone' end
  local kept = redis.call('HMGET', 'dcb:aside:' .. member, 'channel', 'lane')
  local entry = kind == 'r' and 'm:' .. id or member
  if redis.call('EXISTS', 'dcb:' .. entry) == 0 then return 'gone' end
  if kind == 'r' then
    local f = redis.pcall('HMGET', 'dcb:' .. entry, F.message_id, F.sender_id, F.to_id, F.receipt_status, F.accepted_at,
      F.receipt_tries, F.reason)
    local why = f.err and 'its key is of another type' or aside.why_receipt(f)
    if why then return why end
    redis.call('PERSIST', 'dcb:' .. entry)
    owed.put(id, kept[1])
  else
    local why = aside.why(member)
    if why then return why end
    if string.match(id, '^%l%l%l_') then
      redis.call('DEL', 'dcb:' .. member)
      ARGV = {'events_replay', iso, string.sub(id, 30), string.sub(id, 1, 28), kept[2] or ''}
      verbs.events_replay()
      redis.call('ZREM', 'dcb:aside', member)
      redis.call('DEL', 'dcb:aside:' .. member)
      return 'back'
    end
    local lane = aside.field(member, F.lane)
    local waits = lane ~= '' and not TERMINAL[aside.field(member, F.state)] and aside.field(member, F.state) ~= S.sent
    if waits then
      redis.call('LREM', 'dcb:lane:' .. lane, 0, member)
      redis.call('LPUSH', 'dcb:lane:' .. lane, member) -- it was accepted before whoever waits there now
    end
    redis.call('HDEL', 'dcb:' .. member, F.queued_at)
    redis.call('ZADD', 'dcb:due', now, member)
  end
  redis.call('ZREM', 'dcb:aside', member)
  redis.call('DEL', 'dcb:aside:' .. member)
  return 'back'
end

-- @verb aside_drop member… -> count
function verbs.aside_drop()
  local found = 0
  for i = each.from, #ARGV do
    if redis.call('ZSCORE', 'dcb:aside', each.member) then
      aside.forget(each.member)
      found = found + 1
    end
  end
  return found
end
