-- Messages that ended long ago, as the ledger leaves them. ARGV: ms for which they are kept, then for each of them its ref, state,
-- channel, provider, ms when it was accepted, and what stands for its consumer.

local keep = tonumber(ARGV[1])

local function push(key, member)
  if redis.call('RPUSH', key, member) == 1 then redis.call('PEXPIRE', key, keep) end
end

for i = 2, #ARGV, 6 do
  local ref, state, channel, provider, at, consumer = unpack(ARGV, i, i + 5)
  local key = 'dcb:m:' .. ref
  redis.call('HSET', key, F.state, state, F.channel_id, channel, F.message_id, '1613474523265-' .. i, F.lane, string.sub(ref, 1, 18),
    F.trace_id, ref .. 'abcdef01', F.accepted_at, at, F.attempts, 0, F.part, 1, F.expires_at, at + 86400000, F.consumer, consumer,
    F.provider, provider, F.total_attempts, 1, F.began_at, at + 12, F.provider_id .. '0', 'SM' .. ref .. '01234567', F.parts, 1,
    F.sent_at, at + 230, F.jobs, 1, F.queued_at, at, F.part_status .. '0', state, F.reason, '', F.detail, '', F.ended_at, at + 3000,
    F.receipt_status, 'Delivered', F.receipt_posted_at, at + 3100, F.history_length, 1, F.history .. '0', '3000 update 0 delivered')
  redis.call('PEXPIRE', key, keep)
  local number = math.floor(at / 86400000)
  local day = 'dcb:ix:' .. string.format('%.0f', number)
  redis.call('ZADD', 'dcb:ix', number, number)
  push(day, ref)
  push(day .. ':c/' .. channel, ref)
  push(day .. ':p/' .. provider, ref)
  push(day .. ':n/' .. string.sub(consumer, 1, 2), string.sub(consumer, 3) .. ref)
  if state ~= S.delivered then push(day .. ':s/' .. state, ref) end
end
return 1
