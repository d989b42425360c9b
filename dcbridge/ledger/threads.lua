-- ---------------------------------------------------------------- threads: which emails of one consumer belong together
--
--   dcb:thread:<digest>    Message-IDs of both sides, the newest first
--   dcb:shingles:<digest>  hashes of words that we sent, the newest first
--   dcb:mails-of:<digest>  tasks of the mails that came in the last minutes

-- @verb thread_add thread id keep_ms shingle… -> 1
function verbs.thread_add()
  local ids, said = 'dcb:thread:' .. a.thread, 'dcb:shingles:' .. a.thread
  redis.call('LREM', ids, 0, a.id)
  redis.call('LPUSH', ids, a.id)
  redis.call('LTRIM', ids, 0, 9)
  redis.call('PEXPIRE', ids, a.keep_ms)
  for i = each.from, #ARGV, each.size do
    redis.call('LREM', said, 0, each.shingle)
    redis.call('LPUSH', said, each.shingle)
  end
  redis.call('LTRIM', said, 0, 79)
  redis.call('PEXPIRE', said, a.keep_ms)
  return 1
end

-- Counts a mail once, however often its task runs.
-- @verb thread_mail thread task within_ms -> count
function verbs.thread_mail()
  local key = 'dcb:mails-of:' .. a.thread
  redis.call('SADD', key, a.task)
  if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, a.within_ms) end
  return redis.call('SCARD', key)
end
