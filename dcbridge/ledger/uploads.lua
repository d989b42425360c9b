-- ---------------------------------------------------------------- uploads: a consumer's files at Digital Channels
--
--   dcb:uploads            "<channel> <id of a file>" -> ms when it is deleted there
--   dcb:uploads-refused    the same -> ms of the first time that its deletion was refused
--   dcb:uploads-of:<task>  place of a file in the message -> what became of it, so that it is uploaded once

local AGAIN = 600000 -- ms until somebody else tries to delete what a process was about to

-- @verb upload_note task place words channel media keep_ms remember_ms -> 1
-- `keep_ms` 0: it is never deleted. An empty `media`: it was withheld.
function verbs.upload_note()
  redis.call('HSET', 'dcb:uploads-of:' .. a.task, a.place, a.words)
  redis.call('PEXPIRE', 'dcb:uploads-of:' .. a.task, a.remember_ms)
  if a.media ~= '' and tonumber(a.keep_ms) > 0 then
    redis.call('ZADD', 'dcb:uploads', now + tonumber(a.keep_ms), a.channel .. ' ' .. a.media)
  end
  return 1
end

-- @verb uploads_due limit -> {"<channel> <media>"…}
function verbs.uploads_due()
  local due = redis.call('ZRANGEBYSCORE', 'dcb:uploads', '-inf', now, 'LIMIT', 0, a.limit)
  for _, member in ipairs(due) do redis.call('ZADD', 'dcb:uploads', now + AGAIN, member) end
  return due
end

-- @verb uploads_deleted member… -> 1
function verbs.uploads_deleted()
  for i = each.from, #ARGV, each.size do
    redis.call('ZREM', 'dcb:uploads', each.member)
    redis.call('ZREM', 'dcb:uploads-refused', each.member)
  end
  return 1
end

-- @verb uploads_refused give_up_ms member… -> {member…}
-- -> those whose deletion has been refused for so long that they are forgotten.
function verbs.uploads_refused()
  local left = {}
  for i = each.from, #ARGV, each.size do
    redis.call('ZADD', 'dcb:uploads-refused', 'NX', now, each.member)
    if now - tonumber(redis.call('ZSCORE', 'dcb:uploads-refused', each.member)) >= tonumber(a.give_up_ms) then
      left[#left + 1] = each.member
      redis.call('ZREM', 'dcb:uploads', each.member)
      redis.call('ZREM', 'dcb:uploads-refused', each.member)
    end
  end
  return left
end
