-- ---------------------------------------------------------------- services: which processes take webhooks and callbacks
--
--   dcb:services           process -> "<ms of its last word> <JSON of what it says>"
--   dcb:secrets            "<endpoint> <digest>" of each secret that was ever configured -> "<ms first known> <ms last used, or 0>
--                          <ms last known>"

local FORGOTTEN = 3600000 -- ms after which one that says nothing is forgotten
local MOST_SERVICES = 1000

local MOST_SECRETS = 1000
local SECRET_FORGOTTEN = 7776000000 -- ms: 90 days after a process last named it

local function secret_seen(field, used)
  local was = redis.call('HGET', 'dcb:secrets', field)
  if not was and redis.call('HLEN', 'dcb:secrets') >= MOST_SECRETS then return end
  local first, last = string.match(was or '', '^(%d+) (%d+) ')
  used = math.min(now, math.max(used, tonumber(last) or 0))
  redis.call('HSET', 'dcb:secrets', field, string.format('%.0f %.0f %.0f', tonumber(first) or now, used, now))
end

local function forget_secrets()
  if redis.call('HLEN', 'dcb:secrets') < MOST_SECRETS / 2 then return end
  local known = redis.call('HGETALL', 'dcb:secrets')
  for i = 1, #known, 2 do
    local at = tonumber(string.match(known[i + 1], ' (%d+)$') or '0')
    if now - at > SECRET_FORGOTTEN then redis.call('HDEL', 'dcb:secrets', known[i]) end
  end
end

-- @verb service_here name words (secret used_ms)… -> count
-- A process lives, and what it says of itself. Of secrets it says when each was used last, 0 for never. -> how many are known
function verbs.service_here()
  for i = each.from, #ARGV, each.size do secret_seen(each.secret, tonumber(each.used_ms) or 0) end
  if each.from < #ARGV then forget_secrets() end
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
