-- ---------------------------------------------------------------- consent: who must not be written to
--
--   dcb:stop:<scope>           token of a consumer -> "order by proof" of the first STOP, from STOP until START; and the
--                              order of the last one, where there were several
--   dcb:start:<scope>:<token>  order of the last START, for as long as an older STOP may still be read
--   dcb:consent-key            a fingerprint of the key that the tokens are made with
--
-- `order` is the ms at which the callback was accepted, times 1000, and the place in it; 0 is this moment. A callback
-- may be read again, and two may be read at once: what a consumer said last counts, whatever is written last.

local function order_of(order)
  order = tonumber(order)
  return order > 0 and order or now * 1000
end

local function last_stop(stored)
  return tonumber(string.match(stored, '^%d+ %a+ [^ ]* (%d+)$') or string.match(stored, '^%d+')) or 0
end

-- @verb consent_stopped scope token order by proof channel -> stopped|same|late
function verbs.consent_stopped()
  local order, key = order_of(a.order), 'dcb:stop:' .. a.scope
  if tonumber(redis.call('GET', 'dcb:start:' .. a.scope .. ':' .. a.token) or '-1') >= order then return 'late' end
  local stored, written = redis.call('HGET', key, a.token), string.format('%.0f', order)
  if stored then
    local first = string.match(stored, '^%d+ %a+ [^ ]*')
    if first and last_stop(stored) < order then redis.call('HSET', key, a.token, first .. ' ' .. written) end
    return 'same'
  end
  redis.call('HSET', key, a.token, written .. ' ' .. a.by .. ' ' .. a.proof)
  emit('consent.stopped', 'consumer', a.token, 'scope', a.scope, 'channel', a.channel, 'by', a.by)
  return 'stopped'
end

-- @verb consent_started scope token order by channel keep_ms -> started|same|late
function verbs.consent_started()
  local order, key, started = order_of(a.order), 'dcb:stop:' .. a.scope, 'dcb:start:' .. a.scope .. ':' .. a.token
  local since = redis.call('HGET', key, a.token)
  if since and last_stop(since) > order then return 'late' end
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

-- @verb consent_found scope dry (token words)… -> {how many were not known, of how many a START is later}
-- Those of a provider's own list. With dry nothing is written. No event, as above.
function verbs.consent_found()
  local fresh, late = 0, 0
  for i = each.from, #ARGV, each.size do
    if redis.call('HEXISTS', 'dcb:stop:' .. a.scope, each.token) == 0 then
      local started = redis.call('GET', 'dcb:start:' .. a.scope .. ':' .. each.token)
      if started and tonumber(started) >= last_stop(each.words) then
        late = late + 1
      else
        fresh = fresh + 1
        if a.dry ~= '1' then redis.call('HSET', 'dcb:stop:' .. a.scope, each.token, each.words) end
      end
    end
  end
  return {fresh, late}
end

-- @verb consent_key fingerprint -> same|other
-- Tokens of another key name nobody: opt-outs would be there and would stop nothing.
function verbs.consent_key()
  if redis.call('EXISTS', 'dcb:consent-key') == 0 then redis.call('SET', 'dcb:consent-key', a.fingerprint) end
  return redis.call('GET', 'dcb:consent-key') == a.fingerprint and 'same' or 'other'
end
