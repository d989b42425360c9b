-- ---------------------------------------------------------------- receipts

-- Of messages of dcbridge's own none is owed (own.lua): a version that knows none of them wrote these.
local function forget_own(books)
  for _, ref in ipairs(redis.call('ZRANGE', 'dcb:receipts:' .. books, 0, -1)) do
    local key = 'dcb:m:' .. ref
    redis.call('HDEL', key, F.to_id)
    redis.call('PEXPIRE', key, redis.call('HGET', key, F.kept_for) or REQUEUE)
  end
  redis.call('DEL', 'dcb:receipts:' .. books)
end

-- @verb receipts_take channel limit lease_ms -> {{ref, mid, from, to, status, reason, detail, accepted ms, tries, trace}…}
-- What is taken is nobody else's until the lease ends; then it is due again by itself.
function verbs.receipts_take()
  local channel, limit, lease = a.channel, tonumber(a.limit), tonumber(a.lease_ms)
  redis.call('DEL', 'dcb:receipts-woken:' .. channel)
  if string.sub(channel, 1, 4) == 'own/' then
    forget_own(channel)
    return {}
  end
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

-- @verb receipts_hold channel lease_ms ref… -> ok
-- Whoever took them is still at it.
function verbs.receipts_hold()
  for i = each.from, #ARGV do redis.call('ZADD', 'dcb:receipts:' .. a.channel, 'XX', now + tonumber(a.lease_ms), each.ref) end
  return 'ok'
end

-- @verb receipts_done channel keep_ms ref… -> count
function verbs.receipts_done()
  for i = each.from, #ARGV do
    local key = 'dcb:m:' .. each.ref
    redis.call('ZREM', 'dcb:receipts:' .. a.channel, each.ref)
    redis.call('HSET', key, F.receipt_posted_at, now)
    redis.call('HDEL', key, F.sender_id, F.to_id)
    redis.call('PEXPIRE', key, a.keep_ms)
  end
  owed.taken('r', a.channel)
  return #ARGV + 1 - each.from
end

-- @verb receipts_again channel code (ref delay_ms)… -> 1
-- `code`: of the answer to the request in which they were.
function verbs.receipts_again()
  if a.code ~= '' then owed.refused('r', a.channel, a.code) end
  for i = each.from, #ARGV, each.size do
    if redis.call('ZSCORE', 'dcb:receipts:' .. a.channel, each.ref) then
      redis.call('HINCRBY', 'dcb:m:' .. each.ref, F.receipt_tries, 1)
      redis.call('ZADD', 'dcb:receipts:' .. a.channel, now + tonumber(each.delay_ms), each.ref)
      owed.is_due(a.channel, now + tonumber(each.delay_ms))
    end
  end
  return 1
end

-- @verb receipts_refused channel ref code raw keep_ms dead_keep_ms -> refused|stale
-- Digital Channels will never take it.
function verbs.receipts_refused()
  local channel, ref = a.channel, a.ref
  if redis.call('ZREM', 'dcb:receipts:' .. channel, ref) == 0 then return 'stale' end
  owed.refused('r', channel, a.code)
  dead_letter('r-' .. ref, K.receipt, channel, a.code, a.raw, tonumber(a.dead_keep_ms))
  redis.call('HSET', 'dcb:m:' .. ref, F.receipt_refused, a.code)
  note('dcb:m:' .. ref, K.receipt, 'refused', a.code)
  redis.call('HDEL', 'dcb:m:' .. ref, F.sender_id, F.to_id)
  redis.call('PEXPIRE', 'dcb:m:' .. ref, a.keep_ms)
  return 'refused'
end
