-- ---------------------------------------------------------------- what an operator does: controls.lua says what is stored

function controls.mirror(what, control)
  if string.sub(what, 1, 2) ~= 'p/' or not control then return end
  local key = 'dcb:pause:' .. string.sub(what, 3)
  local till = math.min(control.till or now + controls.MIRROR, now + controls.MIRROR)
  if (tonumber(redis.call('GET', key)) or 0) < till - controls.MIRROR / 2 and till > now then
    redis.call('SET', key, till, 'PX', till - now)
  end
end

-- Of no more than so many it is remembered when time to live stood still: what ended first is forgotten.
local function room_for(what)
  local key = 'dcb:stood-still'
  if redis.call('HLEN', key) < controls.MOST or redis.call('HEXISTS', key, what) == 1 then return end
  local all, oldest, ended = redis.call('HGETALL', key), nil, nil
  for i = 1, #all, 2 do
    local to = tonumber(string.match(all[i + 1], '^%d+%-(%d+)') or '0')
    if not ended or to < ended then oldest, ended = all[i], to end
  end
  redis.call('HDEL', key, oldest)
end

-- It is over since `at`: what waits for it is looked at now.
function controls.ends(what, at, by_hand)
  local found = controls.stored(what)
  redis.call('HDEL', 'dcb:controls', what)
  controls.changed()
  if found and found.still then
    local past = redis.pcall('HGET', 'dcb:stood-still', what)
    local words = string.format('%.0f-%.0f', found.since, at)
    local count = 1
    for span in string.gmatch(type(past) == 'string' and past or '', '%d+%-%d+') do
      count = count + 1
      if count <= controls.SPANS then words = words .. ' ' .. span end
    end
    room_for(what)
    redis.call('HSET', 'dcb:stood-still', what, words)
    redis.call('PEXPIRE', 'dcb:stood-still', 5184000000) -- 60 days: longer than messages live
  end
  redis.call('ZADD', 'dcb:lines', 'XX', now, 'k-' .. what)
  if string.sub(what, 1, 2) ~= 'p/' then return end
  local account = string.sub(what, 3)
  if by_hand or redis.call('EXISTS', 'dcb:paused:' .. account) == 0 then
    redis.call('DEL', 'dcb:pause:' .. account, 'dcb:paused:' .. account)
  end
  redis.call('ZADD', 'dcb:lines', 'XX', now, 'p-' .. account)
end

-- What this call has read of them is not so any more.
function controls.changed()
  controls.read, blocked_read = {}, {}
  controls.any = redis.call('EXISTS', 'dcb:controls') == 1
  if controls.any then redis.call('HSET', 'dcb:watched', 'controls', 1) else redis.call('HDEL', 'dcb:watched', 'controls') end
end

-- Whether it is about a worker that is not there any more: left in force, it would cost every message some commands.
function controls.is_gone(what, since)
  local worker = string.match(what, '^w/(.+)$')
  return worker and now - since > controls.GONE and redis.call('EXISTS', 'rq:worker:' .. worker) == 0
end

-- For the sweep: those whose time is over end. The field of dcb:watched is written again, should it be gone.
function controls.sweep()
  controls.changed()
  local all = redis.pcall('HKEYS', 'dcb:controls')
  if all.err then return end
  for _, what in ipairs(all) do
    local found = controls.stored(what)
    if found and found.till and found.till <= now then
      controls.ends(what, found.till, false)
      controls.note('', 'ended', what, '', 'its time was over')
    elseif found and controls.is_gone(what, found.since) then
      controls.ends(what, now, false)
      controls.note('', 'ended', what, '', 'the worker has gone')
    else
      controls.mirror(what, found)
    end
  end
end

--   dcb:audit              who did what, when, to what, why, and what came of it: the last of them

controls.REMEMBERED = 10000

function controls.note(by, action, what, why, result)
  redis.call('XADD', 'dcb:audit', 'MAXLEN', '~', controls.REMEMBERED, '*', 'at', now, 'by', by, 'action', action, 'what', what,
    'why', why, 'result', result)
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
