-- ---------------------------------------------------------------- mailboxes: how each of them is
--
--   dcb:mailbox:<name>          hash: what the process that looks into it has said last
--   dcb:mailbox-stored:<name>   "<uidvalidity>/<uid>" of mails that are stored and could not be marked, by when that was

-- @verb mailbox_note name owner contact_ms waiting left error keep_ms -> ok
-- contact_ms: since the server has answered, "" where it did not.
function verbs.mailbox_note()
  local key = 'dcb:mailbox:' .. a.name
  redis.call('HSET', key, 'owner', a.owner, 'noted', now, 'error', a.error)
  if a.contact_ms ~= '' then
    redis.call('HSET', key, 'contact', now - tonumber(a.contact_ms), 'waiting', a.waiting, 'left', a.left)
  end
  redis.call('PEXPIRE', key, a.keep_ms)
  return 'ok'
end

-- @verb mailbox_stored name mail most keep_ms -> ok
function verbs.mailbox_stored()
  local key = 'dcb:mailbox-stored:' .. a.name
  redis.call('ZADD', key, now, a.mail)
  local over = redis.call('ZCARD', key) - tonumber(a.most)
  if over > 0 then redis.call('ZPOPMIN', key, over) end
  redis.call('PEXPIRE', key, a.keep_ms)
  return 'ok'
end
