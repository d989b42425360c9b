-- ---------------------------------------------------------------- the sweep

-- One member that is due. What needs a decision by somebody who knows the configuration goes into `out`.
-- -> how many were failed because their time to live is over
local function look_at_due(member, out)
  local key = 'dcb:' .. member
  local f = redis.call('HMGET', key, F.state, F.lane, F.queued_at, F.channel_id, F.job, F.token, F.lease_ends, F.provider)
  local state = f[1]
  local known = STATES[string.sub(member, 1, 1)]
  if not state and redis.call('EXISTS', key) == 0 or TERMINAL[state] or state == T.done or state == T.dead then
    redis.call('ZREM', 'dcb:due', member)
  elseif not (known and known[state]) then
    aside.unless_sound(member)
  elseif state == S.accepted or state == S.retry then
    return look_at_waiting(string.sub(member, 3), f[2], f[3])
  elseif state == T.waiting then
    if not lane_is_head(f[2], member) then
      redis.call('ZREM', 'dcb:due', member)
    elseif not f[3] then
      ready(member)
    elseif job_is_lost(f[5], tonumber(f[3])) then
      wake(member)
    else -- still in the queue: look again when it has waited twice as long
      redis.call('ZADD', 'dcb:due', now + math.max(REQUEUE, now - tonumber(f[3])), member)
    end
  elseif not still_held(member, f[6], f[7]) then
    out[#out + 1] = {member, state, f[4] or '', f[8] or ''}
    redis.call('ZADD', 'dcb:due', now, member) -- stays due: whoever decides moves it, and a crash repeats it
  end
  return 0
end

-- @verb sweep limit dead_keep_ms worker silence_ms store -> {{looked at, ahead, store, latest, known}, {member, state, channel, provider}…}
-- -> {how many were looked at, ms that the ledger's time is ahead, the store, the ledger's time as it was stored, 1 where
-- the worker is known}, then what needs a decision by somebody who knows the configuration. `store`: what the store is called
-- from now on where it has no name. Due retries get their job; jobs that are lost are queued again; receipts that are due
-- are woken.
function verbs.sweep()
  local out, limit, looked, expired = {}, tonumber(a.limit), 0, 0
  forget_dead_letters(tonumber(a.dead_keep_ms))
  forget_unconfigured()
  aside.sweep()
  aside.look_for_lanes()
  blobs.sweep()
  if watch(tonumber(a.silence_ms)) then owed.walk() end
  if controls.any or redis.call('EXISTS', 'dcb:controls') == 1 then
    deferred.operator()
    controls.sweep()
  end
  local known = a.worker == '' or redis.call('EXISTS', 'dcb:alive:' .. a.worker) == 1
  if a.worker ~= '' and known then heartbeat(a.worker, tonumber(a.silence_ms)) end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:due', '-inf', now, 'LIMIT', 0, limit)) do
    looked = looked + 1
    local _, ended = aside.try(member, look_at_due, member, out)
    expired = expired + (ended or 0)
    if expired >= EXPIRED then break end
  end
  local _, probed = aside.unless_typed(look_at_breakers)
  local _, went = aside.unless_typed(look_at_lines)
  if (probed or 0) + (went or 0) > 0 or expired >= EXPIRED then looked = limit end -- there is more to do
  routes.look_at_speed()
  owed.sweep()
  local store, latest = store_name(a.store), string.format('%.0f', clock.latest)
  table.insert(out, 1, {looked, clock.offset, store, latest, known and 1 or 0})
  return out
end
