-- ---------------------------------------------------------------- controls: what an operator has stopped
--
--   dcb:controls           <what> -> "<ms since> <ms until, or 0> <1 where time to live stands still> <JSON: by, why>"
--   dcb:stood-still        <what> -> "<ms from>-<ms to> …": when time to live stood still, the last times
--   dcb:line:k-<what>      messages that wait for its end
--
-- <what> is "p/<provider>" or "p/subscribers/<name>", "c/<channel>", "h/<channel>" of one whose messages are held for
-- review, "l/<lane>" of a conversation, "a/" of all messages, while an installation is drained, and "w/<worker>" of a worker
-- that takes no jobs (take.lua).
--
-- `controls.any` is a field of dcb:watched, which every call reads: where nothing is stopped, nothing more is read.
--
-- A provider that is stopped is one that may not be spoken to (routes.lua). It is written as a pause of its own as well,
-- for minutes and again with each sweep: so an older version leaves it alone too.

controls.MOST = 1000 -- that are in force at one time
controls.SPANS = 20 -- of one kind that are remembered
controls.MIRROR = 600000 -- ms of the pause that older versions read
controls.GONE = 600000 -- ms since a worker was stopped, until it is forgotten that it was, where it is gone
controls.CANCELLED = 'cancelled by the operator'

-- What is stored, whether or not it is over: {since, till, still}; till is nil where it has no end.
function controls.stored(what)
  local line = controls.any and redis.pcall('HGET', 'dcb:controls', what)
  if type(line) ~= 'string' then return nil end
  local since, till, still = string.match(line, '^(%d+) (%d+) ([01]) ')
  if not since then return nil end
  return {since = tonumber(since), till = till ~= '0' and tonumber(till) or nil, still = still == '1'}
end

-- The same while it is in force, else false.
function controls.of(what)
  if not controls.any then return false end
  if controls.read[what] == nil then
    local found = controls.stored(what)
    controls.read[what] = found and (not found.till or found.till > now) and found or false
  end
  return controls.read[what]
end

-- Whether an account may not be spoken to, by an operator or because it asked for silence.
function controls.silent(account)
  return controls.of('p/' .. account) or paused_till(account) > now
end

-- What may stop a message, in the order in which it is asked.
function controls.about(ref, known)
  known[9] = known[9] or redis.call('HGET', 'dcb:m:' .. ref, F.lane) or ''
  local written_for = string.match(known[1], '^own/(.+)$') -- what dcbridge says itself is not held for review
  return {'a/', 'c/' .. (written_for or known[1]), 'h/' .. known[1], 'l/' .. known[9]}
end

-- By what a message is stopped, or nil. `known`: as in lines.lua and routes.lua.
function controls.stops(ref, known)
  if not controls.any then return nil end
  for _, what in ipairs(controls.about(ref, known)) do
    local is_hold = string.sub(what, 1, 2) == 'h/'
    if controls.of(what) and not (is_hold and redis.call('HEXISTS', 'dcb:m:' .. ref, F.released) == 1) then return what end
  end
  return nil
end

-- Whether a message that is claimed is stopped, or its provider.
function controls.halts(ref, channel, provider, lane)
  return controls.of('p/' .. (provider or '')) or controls.stops(ref, {channel, [9] = lane})
end

-- While an operator stops it, it does not hold up its conversation: lane_limit begins when it is sent again.
function controls.begin_anew(ref)
  redis.call('HDEL', 'dcb:m:' .. ref, F.began_at, F.attempt_began_at)
end

-- When the time to live of a message ends, with the times for which it stood still since it was accepted.
function controls.ends_at(ref, known)
  local ends, began = tonumber(known[3]) or 0, tonumber(known[2]) or 0
  if not known[1] or not controls.any and redis.call('EXISTS', 'dcb:stood-still') == 0 then return ends end
  local key, spans, all = 'dcb:m:' .. ref, {}, controls.about(ref, known)
  local limits = limits_of(known[1])
  all[#all + 1] = 'p/' .. (known[7] or limits and limits.provider or '')
  for _, what in ipairs(all) do
    local past = redis.pcall('HGET', 'dcb:stood-still', what)
    for from, to in string.gmatch(type(past) == 'string' and past or '', '(%d+)%-(%d+)') do
      spans[#spans + 1] = {tonumber(from), tonumber(to)}
    end
    local present = controls.stored(what)
    if present and present.still then spans[#spans + 1] = {present.since, math.min(present.till or now, now)} end
  end
  table.sort(spans, function(x, y) return x[1] < y[1] end)
  local counted = math.max(began, tonumber(redis.call('HGET', key, F.stood_until)) or 0)
  local before = ends
  for _, span in ipairs(spans) do
    local from = math.max(span[1], counted)
    if from < ends and span[2] > from then ends, counted = ends + span[2] - from, span[2] end
  end
  if ends > before then
    redis.call('HSET', key, F.expires_at, ends, F.stood_until, counted)
    known[3] = ends
  end
  return ends
end
