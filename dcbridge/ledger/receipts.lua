-- ---------------------------------------------------------------- receipts

-- receipts_take channel limit lease_ms -> {{ref, mid, from, to, status, reason, detail, accepted ms, tries, trace}, …}
-- What is taken is nobody else's until the lease ends; then it is due again by itself.
function verbs.receipts_take()
  local channel, limit, lease = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
  redis.call('DEL', 'dcb:receipts-woken:' .. channel)
  local key, out = 'dcb:receipts:' .. channel, {}
  for _, ref in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, limit)) do
    local f = redis.pcall('HMGET', 'dcb:m:' .. ref, F.message_id, F.sender_id, F.to_id, F.receipt_status, F.accepted_at,
      F.receipt_tries, F.reason, F.detail, F.trace_id)
    local why = f.err and 'its key is of another type' or aside.why_receipt(f)
    if not why then
      redis.call('ZADD', key, now + lease, ref)
      out[#out + 1] = {ref, f[1], f[2], f[3], f[4], f[7] or '', f[8] or '', f[5], f[6] or '0', f[9] or ''}
    elseif redis.call('EXISTS', 'dcb:m:' .. ref) == 1 then
      aside.put('r:' .. ref, why, channel)
    else
      redis.call('ZREM', key, ref)
    end
  end
  if redis.call('ZCOUNT', key, '-inf', now) > 0 then owed.wake(channel) end
  return out
end

-- receipts_hold channel lease_ms ref…: whoever took them is still at it.
function verbs.receipts_hold()
  for i = 5, #ARGV do redis.call('ZADD', 'dcb:receipts:' .. ARGV[3], 'XX', now + tonumber(ARGV[4]), ARGV[i]) end
  return 'ok'
end

-- receipts_done channel keep_ms ref…
function verbs.receipts_done()
  for i = 5, #ARGV do
    local key = 'dcb:m:' .. ARGV[i]
    redis.call('ZREM', 'dcb:receipts:' .. ARGV[3], ARGV[i])
    redis.call('HSET', key, F.receipt_posted_at, now)
    redis.call('HDEL', key, F.sender_id, F.to_id)
    redis.call('PEXPIRE', key, ARGV[4])
  end
  return #ARGV - 4
end

-- receipts_again channel then (ref delay_ms)…
function verbs.receipts_again()
  for i = 4, #ARGV, 2 do
    if redis.call('ZSCORE', 'dcb:receipts:' .. ARGV[3], ARGV[i]) then
      redis.call('HINCRBY', 'dcb:m:' .. ARGV[i], F.receipt_tries, 1)
      redis.call('ZADD', 'dcb:receipts:' .. ARGV[3], now + tonumber(ARGV[i + 1]), ARGV[i])
      owed.is_due(ARGV[3], now + tonumber(ARGV[i + 1]))
    end
  end
  return 1
end

-- receipts_refused channel ref code raw keep_ms dead_keep_ms: Digital Channels will never take it.
function verbs.receipts_refused()
  local channel, ref = ARGV[3], ARGV[4]
  if redis.call('ZREM', 'dcb:receipts:' .. channel, ref) == 0 then return 'stale' end
  bury('r-' .. ref, 'receipt', channel, ARGV[5], ARGV[6], tonumber(ARGV[8]))
  redis.call('HSET', 'dcb:m:' .. ref, F.receipt_refused, ARGV[5])
  note('dcb:m:' .. ref, 'receipt', 'refused', ARGV[5])
  redis.call('HDEL', 'dcb:m:' .. ref, F.sender_id, F.to_id)
  redis.call('PEXPIRE', 'dcb:m:' .. ref, ARGV[7])
  return 'refused'
end
