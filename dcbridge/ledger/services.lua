-- ---------------------------------------------------------------- services: which processes take webhooks and callbacks
--
--   dcb:services           process -> "<ms of its last word> <JSON of what it says>"

local FORGOTTEN = 3600000 -- ms after which one that says nothing is forgotten
local MOST_SERVICES = 1000

-- @verb service_here name words -> count
-- A process lives, and what it says of itself. -> how many are known
function verbs.service_here()
  redis.call('HSET', 'dcb:services', a.name, string.format('%.0f', now) .. ' ' .. a.words)
  local known = redis.call('HGETALL', 'dcb:services')
  for i = 1, #known, 2 do
    local at = tonumber(string.match(known[i + 1], '^(%d+) ') or '0')
    if now - at > FORGOTTEN or (#known > 2 * MOST_SERVICES and known[i] ~= a.name) then
      redis.call('HDEL', 'dcb:services', known[i])
    end
  end
  return redis.call('HLEN', 'dcb:services')
end
