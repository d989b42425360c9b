-- ---------------------------------------------------------------- work items: dead letters that an agent has as a task
--
--   dcb:work-items         letter -> ms when Genesys is asked next what became of its item
--   dcb:dead:<letter>      also: item ("<subscriber> <ms opened> <times it was not there>"), handled (ms)
--
-- A letter that dies again after a replay has another `at`, and so another item.

local SOONEST, LATEST = 30000, 1800000 -- ms between two looks: as long as it has been open, within these

local function item_of(letter, at)
  local f = redis.call('HMGET', 'dcb:dead:' .. letter, 'at', 'item')
  if not f[1] then redis.call('ZREM', 'dcb:work-items', letter) end
  if not f[2] or (at and f[1] ~= at) then return nil end
  local subscriber, opened, missed = string.match(f[2], '^(%S+) (%d+) (%d+)$')
  return {at = f[1], subscriber = subscriber, opened = tonumber(opened), missed = tonumber(missed)}
end

-- @verb item_opened letter at subscriber -> opened|again|gone
-- Genesys has an item for this letter.
function verbs.item_opened()
  local key = 'dcb:dead:' .. a.letter
  local f = redis.call('HMGET', key, 'at', 'item', 'handled')
  if f[1] ~= a.at then return 'gone' end
  if f[2] or f[3] then return 'again' end
  redis.call('HSET', key, 'item', a.subscriber .. ' ' .. now .. ' 0')
  redis.call('ZADD', 'dcb:work-items', now + SOONEST, a.letter)
  return 'opened'
end

-- @verb items_due limit lease_ms -> {{letter, at, subscriber}…}
-- Nobody else looks at them for lease_ms.
function verbs.items_due()
  local found = {}
  for _, letter in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:work-items', '-inf', now, 'LIMIT', 0, a.limit)) do
    local item = item_of(letter)
    if item then
      redis.call('ZADD', 'dcb:work-items', now + tonumber(a.lease_ms), letter)
      found[#found + 1] = {letter, item.at, item.subscriber}
    else
      redis.call('ZREM', 'dcb:work-items', letter)
    end
  end
  return found
end

-- @verb item_seen letter at state -> open|handled|gone
-- state: open, ended, or gone. One that is not there twice in a row has ended: the reference knows no other way to say it.
function verbs.item_seen()
  local item, key = item_of(a.letter, a.at), 'dcb:dead:' .. a.letter
  if not item then return 'gone' end
  item.missed = a.state == 'gone' and item.missed + 1 or 0
  if a.state ~= 'ended' and item.missed < 2 then
    local pause = item.missed > 0 and SOONEST or math.max(SOONEST, math.min(LATEST, now - item.opened))
    redis.call('HSET', key, 'item', string.format('%s %.0f %d', item.subscriber, item.opened, item.missed))
    redis.call('ZADD', 'dcb:work-items', now + pause, a.letter)
    return 'open'
  end
  local f = redis.call('HMGET', key, 'what', 'channel')
  redis.call('HSET', key, 'handled', now)
  redis.call('HDEL', key, 'item')
  redis.call('ZREM', 'dcb:work-items', a.letter)
  redis.call('ZREM', 'dcb:dead', a.letter) -- its bytes stay for as long as they would have
  redis.call('HINCRBY', 'dcb:counts', 'dead_handled', 1)
  emit('dead_letter.handled', 'letter', a.letter, 'kind', f[1] or '', 'channel', f[2] or '', 'at', a.at)
  return 'handled'
end
