-- ---------------------------------------------------------------- signatures that were refused: where, why, how often
--
--   dcb:signatures          "<where> <why>" -> "<how often> <first> <last>", times in ms
--   dcb:signatures:<who>    the number of the last report of a process, for an hour: one that comes twice counts once

local MOST_SIGNATURES = 500 -- fields; those that were seen last stay
local EPISODE = 86400000 -- ms without one after which it is counted anew
local KEPT_SIGNATURES = 2592000000 -- 30 days
local REPORTED = 3600000

local function seen_signature(line)
  local count, first, last = string.match(line or '', '^(%d+) (%d+) (%d+)$')
  return tonumber(count or '0'), tonumber(first or '0'), tonumber(last or '0')
end

-- @verb signatures_refused who number (what count first last)… -> new|again
-- What a process has refused since its last report.
function verbs.signatures_refused()
  local key, told = 'dcb:signatures', 'dcb:signatures:' .. a.who
  if tonumber(redis.call('GET', told) or '0') >= tonumber(a.number) then return 'again' end
  redis.call('SET', told, a.number, 'PX', REPORTED)
  for i = each.from, #ARGV, each.size do
    local count, first, last = seen_signature(redis.call('HGET', key, each.what))
    local since, till = tonumber(each.first), tonumber(each.last)
    if count == 0 or since - last > EPISODE then count, first = 0, since end
    redis.call('HSET', key, each.what, string.format('%.0f %.0f %.0f', count + tonumber(each.count), math.min(first, since),
      math.max(last, till)))
  end
  local all, ages = redis.call('HGETALL', key), {}
  for i = 1, #all, 2 do
    local _, _, last = seen_signature(all[i + 1])
    if now - last > KEPT_SIGNATURES then redis.call('HDEL', key, all[i]) else ages[#ages + 1] = {last, all[i]} end
  end
  if #ages > MOST_SIGNATURES then
    table.sort(ages, function(x, y) return x[1] > y[1] end)
    for i = MOST_SIGNATURES + 1, #ages do redis.call('HDEL', key, ages[i][2]) end
  end
  redis.call('PEXPIRE', key, KEPT_SIGNATURES)
  return 'new'
end
