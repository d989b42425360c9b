-- ---------------------------------------------------------------- dead letters that are put back, or dropped

local function letter_ends(id, count)
  redis.call('DEL', 'dcb:dead:' .. id)
  redis.call('ZREM', 'dcb:dead', id)
  redis.call('HINCRBY', 'dcb:counts', count, 1)
end

-- replay id verb arguments… -> "new", or why nothing was done. The letter leaves in the step in which the verb
-- answers "new" (for one of several copies at least); any other answer leaves it where it is.
function verbs.replay()
  local id, own = ARGV[3], {ARGV[4], iso}
  if redis.call('EXISTS', 'dcb:dead:' .. id) == 0 then return 'gone' end
  for i = 5, #ARGV do own[#own + 1] = ARGV[i] end
  ARGV = own
  local answer = verbs[ARGV[1]]()
  for _, word in ipairs(type(answer) == 'table' and answer or {answer}) do
    if word == 'new' then
      letter_ends(id, 'dead_replayed')
      return 'new'
    end
  end
  return type(answer) == 'table' and 'again' or answer
end

-- drop id… -> how many there were
function verbs.drop()
  local found = 0
  for i = 3, #ARGV do
    if redis.call('EXISTS', 'dcb:dead:' .. ARGV[i]) == 1 then
      letter_ends(ARGV[i], 'dead_dropped')
      found = found + 1
    end
  end
  return found
end

-- task_again id job lane payload trace channel -> "new", or the state of a task that is not dead.
-- The id stays, so that what a provider sends once more is recognised as before.
function verbs.task_again()
  local key = 'dcb:t:' .. ARGV[3]
  local f = redis.call('HMGET', key, F.state, F.trace_id)
  if f[1] and f[1] ~= T.dead then return f[1] end
  if ARGV[7] == '' then ARGV[7] = f[2] or '' end
  redis.call('DEL', key)
  verbs.task_put()
  note(key, 'replayed')
  return 'new'
end

-- receipt_owe ref from to: a receipt that was refused is owed again -> "new", or why not.
function verbs.receipt_owe()
  local ref, key = ARGV[3], 'dcb:m:' .. ARGV[3]
  local f = redis.call('HMGET', key, F.state, F.channel_id, F.receipt_posted_at, F.receipt_refused)
  if not f[1] then return 'forgotten' end
  if f[3] then return 'posted' end
  if not f[4] then return 'owed' end
  redis.call('HSET', key, F.sender_id, ARGV[4], F.to_id, ARGV[5], F.receipt_owed_at, now)
  redis.call('HDEL', key, F.receipt_refused, F.receipt_tries)
  redis.call('PERSIST', key)
  note(key, 'receipt', 'again')
  owed.put(ref, f[2])
  return 'new'
end
