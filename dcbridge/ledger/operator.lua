-- ---------------------------------------------------------------- what an operator does: controls.lua says what is stored

-- Those who wait for no rate do not add to a queue that is full.
function ADVANCE.k(key, most)
  local control = controls.of(string.sub(key, 3))
  if control then
    look_later(key, math.min(control.till or now + LOOK_LATE, now + LOOK_LATE))
    return 0
  end
  local room = math.min(most, FULL - redis.call('LLEN', 'rq:queue:outbound'))
  if room <= 0 then
    look_later(key, now + 1)
    return 0
  end
  local refs = redis.call('ZRANGE', 'dcb:line:' .. key, 0, room - 1)
  for _, ref in ipairs(refs) do
    redis.call('ZREM', 'dcb:line:' .. key, ref)
    aside.try('m:' .. ref, line_up_again, ref, key)
  end
  if redis.call('EXISTS', 'dcb:line:' .. key) == 1 then look_later(key, now) else redis.call('ZREM', 'dcb:lines', key) end
  return #refs
end

-- @verb control_begin what lasts_ms still words by why -> {began|again|full, ms until}
-- lasts_ms: 0 where it has no end. words: JSON, for whoever looks at it.
function verbs.control_begin()
  local what, lasts = a.what, tonumber(a.lasts_ms)
  local was = redis.call('HEXISTS', 'dcb:controls', what) == 1
  if not was and redis.call('HLEN', 'dcb:controls') >= controls.MOST then return {'full', 0} end
  if was then controls.ends(what, now, false) end
  local till = lasts > 0 and now + lasts or 0
  redis.call('HSET', 'dcb:controls', what, string.format('%.0f %.0f %s %s', now, till, a.still, a.words))
  controls.changed()
  controls.mirror(what, controls.of(what))
  if string.sub(what, 1, 2) == 'p/' then routes.look_at_lines() end -- there may be another way
  controls.note(a.by, string.sub(what, 1, 2) == 'h/' and 'hold' or 'pause', what, a.why,
    till > 0 and 'until ' .. string.format('%.0f', till) or 'without an end')
  return {was and 'again' or 'began', till}
end

-- @verb control_end what by why -> 1|0
function verbs.control_end()
  if redis.call('HEXISTS', 'dcb:controls', a.what) == 0 then return 0 end
  controls.ends(a.what, now, true)
  controls.note(a.by, 'resume', a.what, a.why, 'ended')
  return 1
end

-- @verb audit by action what why result -> ok
function verbs.audit()
  controls.note(a.by, a.action, a.what, a.why, a.result)
  return 'ok'
end

function controls.cancel(ref, detail)
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.state, F.detail)
  if not f[1] then return 'gone' end
  if TERMINAL[f[1]] then return f[2] == detail and 'again' or 'ended' end
  if f[1] == S.sent then return 'sent' end
  if f[1] == S.accepted or f[1] == S.retry then
    note(key, 'cancelled')
    finish(ref, S.failed, '500', detail, 'Failed', 0)
    return 'cancelled'
  end
  redis.call('HSET', key, F.cancelled, now) -- should the provider not take it, it is not sent again
  return 'under way'
end

-- @verb cancel detail ref… -> {cancelled|again|under way|sent|ended|gone|aside…}
-- One whose request is under way, or whose outcome is unknown, is not ended; but it is not sent again.
function verbs.cancel()
  local answers = {}
  for i = each.from, #ARGV do
    local sound, answer = aside.try('m:' .. each.ref, controls.cancel, each.ref, a.detail)
    answers[#answers + 1] = sound and answer or 'aside'
  end
  return answers
end

function controls.retry(ref, with_unknown)
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.state, F.line, F.queued_at, F.channel_id)
  if not f[1] then return 'gone' end
  if f[1] == S.unknown and with_unknown then
    lookup_ends(ref, f[4])
    note(key, 'settled', 'by hand')
    redis.call('HINCRBY', 'dcb:counts', 'unknown_resend', 1)
    redis.call('HSET', key, F.state, S.retry, F.not_before, now)
    ready('m:' .. ref)
    return 'woken'
  end
  if f[1] ~= S.accepted and f[1] ~= S.retry then return f[1] end
  if f[2] then return 'in line ' .. f[2] end
  if f[1] == S.accepted or f[3] then return 'on its way' end
  redis.call('HSET', key, F.not_before, now)
  redis.call('ZADD', 'dcb:due', now, 'm:' .. ref)
  note(key, 'woken')
  return 'woken'
end

-- @verb retry_now unknown ref… -> {woken|on its way|in line <line>|State|gone|aside…}
-- unknown: 1 where those of unknown outcome are sent again as well.
function verbs.retry_now()
  local answers = {}
  for i = each.from, #ARGV do
    local sound, answer = aside.try('m:' .. each.ref, controls.retry, each.ref, a.unknown == '1')
    answers[#answers + 1] = sound and answer or 'aside'
  end
  return answers
end

function controls.release(ref)
  local key = 'dcb:m:' .. ref
  local f = redis.call('HMGET', key, F.state, F.line, F.released, F.channel_id)
  if not f[1] then return 'gone' end
  if f[1] ~= S.accepted and f[1] ~= S.retry then return f[1] end
  if f[3] then return 'again' end
  redis.call('HSET', key, F.released, now)
  note(key, 'released')
  if f[2] == 'k-h/' .. f[4] then
    redis.call('ZREM', 'dcb:line:' .. f[2], ref)
    line_up_again(ref, f[2])
  end
  return 'released'
end

-- @verb release_held ref… -> {released|again|State|gone|aside…}
-- Of a channel whose messages are held for review.
function verbs.release_held()
  local answers = {}
  for i = each.from, #ARGV do
    local sound, answer = aside.try('m:' .. each.ref, controls.release, each.ref)
    answers[#answers + 1] = sound and answer or 'aside'
  end
  return answers
end
