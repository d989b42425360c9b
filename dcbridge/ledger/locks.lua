-- ---------------------------------------------------------------- locks: what one process of many does at a time
--
--   dcb:lead:<name>            the worker that does what only one may do
--   dcb:mailbox-lease:<name>   the process that looks into a mailbox
--
-- A lock ends with its lease.

-- @verb lock key owner ttl_ms -> 1|0
-- The owner may ask again, and has its whole lease again. 0 where another one holds it.
function verbs.lock()
  local held = redis.call('GET', a.key)
  if held and held ~= a.owner then return 0 end
  redis.call('SET', a.key, a.owner, 'PX', a.ttl_ms)
  return 1
end

-- @verb unlock key owner -> ok
function verbs.unlock()
  if redis.call('GET', a.key) == a.owner then redis.call('DEL', a.key) end
  return 'ok'
end
