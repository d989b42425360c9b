-- ---------------------------------------------------------------- blobs: files that a task needs, or that are cached
--
--   dcb:blob:<id>        the bytes of one that is kept in Redis; the others are in the folder
--   dcb:blobs            id -> ms when it is deleted
--   dcb:blob-sizes       id -> "redis <bytes>" or "folder <bytes>"
--   dcb:blob-bytes       redis, folder -> bytes of all of them
--   dcb:blobs-of:<task>  ids that are deleted with this task
--
-- No key has an expiry of its own: what is counted leaves together with its count.

local blobs = {FEW = 100, AGAIN = 60000}

function blobs.forget(id)
  local place, size = string.match(redis.call('HGET', 'dcb:blob-sizes', id) or '', '^(%a+) (%d+)$')
  redis.call('DEL', 'dcb:blob:' .. id)
  redis.call('ZREM', 'dcb:blobs', id)
  redis.call('HDEL', 'dcb:blob-sizes', id)
  if place then redis.call('HINCRBY', 'dcb:blob-bytes', place, '-' .. size) end
end

-- One of the folder stays until its file is gone.
function blobs.ends(id)
  if string.sub(redis.call('HGET', 'dcb:blob-sizes', id) or '', 1, 6) == 'folder' then
    redis.call('ZADD', 'dcb:blobs', 'XX', now, id)
  else
    blobs.forget(id)
  end
end

function blobs.room(place, id, task, size, keep_ms, most)
  if redis.call('HEXISTS', 'dcb:blob-sizes', id) == 1 then return 'again' end
  if tonumber(redis.call('HGET', 'dcb:blob-bytes', place) or '0') + tonumber(size) > tonumber(most) then
    return 'full'
  end
  redis.call('HSET', 'dcb:blob-sizes', id, place .. ' ' .. size)
  redis.call('HINCRBY', 'dcb:blob-bytes', place, size)
  redis.call('ZADD', 'dcb:blobs', now + tonumber(keep_ms), id)
  if task ~= '' then
    redis.call('SADD', 'dcb:blobs-of:' .. task, id)
    redis.call('PEXPIRE', 'dcb:blobs-of:' .. task, keep_ms)
  end
  return 'new'
end

-- With a task that is done.
function blobs.end_with(task)
  local key = 'dcb:blobs-of:' .. task
  for _, id in ipairs(redis.call('SMEMBERS', key)) do blobs.ends(id) end
  redis.call('DEL', key)
end

-- A dead letter may be put back: its files stay as long as it does.
function blobs.keep_with(task, keep_ms)
  local key = 'dcb:blobs-of:' .. task
  for _, id in ipairs(redis.call('SMEMBERS', key)) do redis.call('ZADD', 'dcb:blobs', 'XX', now + keep_ms, id) end
  redis.call('PEXPIRE', key, keep_ms)
end

-- Those in Redis whose time is over, a few at a time.
function blobs.sweep()
  local ended = redis.call('ZRANGEBYSCORE', 'dcb:blobs', '-inf', now, 'LIMIT', 0, blobs.FEW)
  for _, id in ipairs(ended) do
    if string.sub(redis.call('HGET', 'dcb:blob-sizes', id) or '', 1, 6) ~= 'folder' then blobs.forget(id) end
  end
end

-- @verb blob_put id task size keep_ms most data -> new|again|full
-- The bytes of one that is kept in Redis, where all of them may have `most` bytes.
function verbs.blob_put()
  local answer = blobs.room('redis', a.id, a.task, a.size, a.keep_ms, a.most)
  if answer == 'new' then redis.call('SET', 'dcb:blob:' .. a.id, a.data) end
  return answer
end

-- @verb blob_reserve id task size keep_ms most -> new|again|full
-- Room in the folder. Written down before there is a file, so that no file is ever left that is not known.
function verbs.blob_reserve()
  return blobs.room('folder', a.id, a.task, a.size, a.keep_ms, a.most)
end

-- @verb blob_forget id… -> 1
-- Whose files are gone.
function verbs.blob_forget()
  for i = each.from, #ARGV, each.size do blobs.forget(each.id) end
  return 1
end

-- @verb blob_end id… -> 1
function verbs.blob_end()
  for i = each.from, #ARGV, each.size do blobs.ends(each.id) end
  return 1
end

-- @verb blobs_ended limit -> {id…}
-- -> those of the folder whose files are to be deleted; a process that dies meanwhile leaves them to the next.
function verbs.blobs_ended()
  local found = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:blobs', '-inf', now, 'LIMIT', 0, a.limit)) do
    if string.sub(redis.call('HGET', 'dcb:blob-sizes', id) or '', 1, 6) == 'folder' then
      found[#found + 1] = id
      redis.call('ZADD', 'dcb:blobs', now + blobs.AGAIN, id)
    end
  end
  return found
end
