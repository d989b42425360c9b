-- ---------------------------------------------------------------- channels that are not configured

-- strand ref token keep_ms -> "waits" or "stale": whoever claimed it knows no such channel. It costs no attempt.
function verbs.strand()
  local ref, key = ARGV[3], 'dcb:m:' .. ARGV[3]
  local f = redis.call('HMGET', key, F.state, F.token, F.channel_id, F.part)
  if f[1] ~= S.sending or f[2] ~= ARGV[4] then return 'stale' end
  landed(ref, f[3])
  local told = told_meanwhile(ref, f[4], tonumber(ARGV[5]), 'channel is not configured')
  if told then return told end
  redis.call('HINCRBY', key, F.attempts, -1)
  local first = redis.call('HINCRBY', key, F.total_attempts, -1) == 0
  redis.call('HSET', key, F.state, first and S.accepted or S.retry, F.not_before, now)
  redis.call('HDEL', key, F.token, F.lease_ends)
  if first then redis.call('HDEL', key, F.began_at) end
  local channel, known = f[3], known_of(ref)
  wait(ref, known, 'u-' .. channel)
  redis.call('ZADD', 'dcb:line:u-' .. channel, known[2], ref)
  redis.call('ZADD', 'dcb:unconfigured', 'NX', now, channel)
  if limits_of(channel) then look_later('u-' .. channel, now + 5 * LOOK_SOON) end -- some other worker knows it
  return 'waits'
end

-- give_up channel from limit -> {how many were ended, where to go on}: those not sent yet of a channel that is not
-- configured fail with 500. {-1, 0} where it is configured.
function verbs.give_up()
  local channel, from, limit = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
  if limits_of(channel) then return {-1, 0} end
  local ended, refs = 0, redis.call('ZRANGE', 'dcb:open:' .. channel, from, from + limit - 1)
  for _, ref in ipairs(refs) do
    if still_waits(ref) then
      finish(ref, S.failed, '500', 'channel is not configured', 'Failed', 0)
      ended = ended + 1
    end
  end
  if #refs < limit then
    redis.call('DEL', 'dcb:line:u-' .. channel)
    redis.call('ZREM', 'dcb:unconfigured', channel)
    return {ended, -1}
  end
  return {ended, from + #refs - ended}
end
