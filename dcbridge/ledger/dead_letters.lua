-- ---------------------------------------------------------------- dead letters: written, put back, or dropped

-- @verb dead_letter id kind channel reason raw dead_keep_ms -> new|again
-- A dead letter that belongs to no entry.
function verbs.dead_letter()
  if redis.call('EXISTS', 'dcb:dead:' .. a.id) == 1 then return 'again' end
  dead_letter(a.id, a.kind, a.channel, a.reason, a.raw, tonumber(a.dead_keep_ms))
  return 'new'
end

-- `how`: replayed or dropped.
local function dead_letter_ends(id, how)
  local f = redis.call('HMGET', 'dcb:dead:' .. id, 'what', 'channel', 'at')
  redis.call('DEL', 'dcb:dead:' .. id)
  redis.call('ZREM', 'dcb:dead', id)
  redis.call('ZREM', 'dcb:work-items', id)
  redis.call('HINCRBY', 'dcb:counts', 'dead_' .. how, 1)
  if f[1] ~= K.delivery then
    emit('dead_letter.' .. how, 'letter', id, 'kind', f[1] or '', 'channel', f[2] or '', 'at', f[3] or 0)
  end
end

-- @verb replay id verb argument… -> new|why nothing was done
-- The dead letter leaves in the step in which the verb answers "new" (for one of several copies at least); any other
-- answer leaves it where it is.
function verbs.replay()
  local id, own = a.id, {a.verb, iso}
  if redis.call('EXISTS', 'dcb:dead:' .. id) == 0 then return 'gone' end
  for i = each.from, #ARGV do own[#own + 1] = ARGV[i] end
  ARGV = own
  local answer = verbs[ARGV[1]]()
  for _, word in ipairs(type(answer) == 'table' and answer or {answer}) do
    if word == 'new' then
      dead_letter_ends(id, 'replayed')
      return 'new'
    end
  end
  return type(answer) == 'table' and 'again' or answer
end

-- @verb dead_letters_drop id… -> count
function verbs.dead_letters_drop()
  local found = 0
  for i = each.from, #ARGV do
    if redis.call('EXISTS', 'dcb:dead:' .. each.id) == 1 then
      dead_letter_ends(each.id, 'dropped')
      if string.sub(each.id, 1, 2) == 't-' then blobs.end_with(string.sub(each.id, 3)) end
      found = found + 1
    end
  end
  return found
end

-- @verb task_again id job lane payload trace channel -> new|state
-- The state of a task that is not dead. The id stays, so that what a provider sends once more is recognised as before.
function verbs.task_again()
  local key = 'dcb:t:' .. a.id
  local f = redis.call('HMGET', key, F.state, F.trace_id, F.consumer)
  if f[1] and f[1] ~= T.dead then return f[1] end
  redis.call('DEL', key)
  tasks.put(a.id, a.job, a.lane, a.payload, a.trace ~= '' and a.trace or f[2] or '', a.channel)
  if f[3] then redis.call('HSET', key, F.consumer, f[3]) end -- the index has it
  note(key, 'replayed')
  return 'new'
end

-- @verb receipt_owe ref from to -> new|forgotten|posted|owed
-- A receipt that was refused is owed again.
function verbs.receipt_owe()
  local ref, key = a.ref, 'dcb:m:' .. a.ref
  local f = redis.call('HMGET', key, F.state, F.channel_id, F.receipt_posted_at, F.receipt_refused)
  if not f[1] then return 'forgotten' end
  if f[3] then return 'posted' end
  if not f[4] then return 'owed' end
  redis.call('HSET', key, F.sender_id, a.from, F.to_id, a.to, F.receipt_owed_at, now)
  redis.call('HDEL', key, F.receipt_refused, F.receipt_tries)
  redis.call('PERSIST', key)
  note(key, 'receipt', 'again')
  owed.put(ref, f[2])
  return 'new'
end
