-- ---------------------------------------------------------------- consent: who must not be written to
--
--   dcb:stop:<scope>           token of a consumer -> "order by proof", from STOP until START
--   dcb:start:<scope>:<token>  order of the last START, for as long as an older STOP may still be read
--   dcb:consent-key            a fingerprint of the key that the tokens are made with
--
-- `order` is the ms at which the callback was accepted, times 1000, and the place in it; 0 is this moment. A callback may be read again, and
-- two may be read at once: what a consumer said last counts, whatever is written last.

local function order_of(order)
  order = tonumber(order)
  return order > 0 and order or now * 1000
end

-- @verb consent_stopped scope token order by proof channel -> stopped|same|late
function verbs.consent_stopped()
  local order, key = order_of(a.order), 'dcb:stop:' .. a.scope
  if tonumber(redis.call('GET', 'dcb:start:' .. a.scope .. ':' .. a.token) or '-1') >= order then return 'late' end
  if redis.call('HSETNX', key, a.token, string.format('%.0f', order) .. ' ' .. a.by .. ' ' .. a.proof) == 0 then
    return 'same'
  end
  emit('consent.stopped', 'consumer', a.token, 'scope', a.scope, 'channel', a.channel, 'by', a.by)
  return 'stopped'
end

-- @verb consent_started scope token order by channel keep_ms -> started|same|late
function verbs.consent_started()
  local order, key, started = order_of(a.order), 'dcb:stop:' .. a.scope, 'dcb:start:' .. a.scope .. ':' .. a.token
  local since = redis.call('HGET', key, a.token)
  if since and (tonumber(string.match(since, '^%d+')) or 0) > order then return 'late' end
  if tonumber(redis.call('GET', started) or '-1') < order then
    redis.call('SET', started, string.format('%.0f', order), 'PX', a.keep_ms)
  end
  if not since then return 'same' end
  redis.call('HDEL', key, a.token)
  emit('consent.started', 'consumer', a.token, 'scope', a.scope, 'channel', a.channel, 'by', a.by)
  return 'started'
end

-- @verb consent_import scope (token words)… -> count
-- -> how many were not known. `words` as they are stored; what is here already stays. No event: the consumers said it
-- elsewhere.
function verbs.consent_import()
  local fresh = 0
  for i = each.from, #ARGV, each.size do
    fresh = fresh + redis.call('HSETNX', 'dcb:stop:' .. a.scope, each.token, each.words)
  end
  return fresh
end

-- @verb consent_key fingerprint -> same|other
-- Tokens of another key name nobody: opt-outs would be there and would stop nothing.
function verbs.consent_key()
  if redis.call('EXISTS', 'dcb:consent-key') == 0 then redis.call('SET', 'dcb:consent-key', a.fingerprint) end
  return redis.call('GET', 'dcb:consent-key') == a.fingerprint and 'same' or 'other'
end
