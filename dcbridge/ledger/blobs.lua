-- ---------------------------------------------------------------- blobs: files that a task needs, or that are cached
--
--   dcb:blob:<id>        the bytes of one that is kept in Redis; the others are in the folder
--   dcb:blobs            id -> ms when it is deleted, of those in Redis
--   dcb:blob-files       the same, of those in the folder
--   dcb:blob-sizes       id -> "redis <bytes>" or "folder <bytes>"; "ending <bytes>" while its file is being deleted
--   dcb:blob-bytes       redis, folder -> bytes of all of them
--   dcb:blobs-of:<task>  ids that are deleted with this task
--
-- No key has an expiry of its own: what is counted leaves together with its count.

local blobs = {FEW = 100, AGAIN = 60000}

-- "redis", "folder", "ending" or nil; and its bytes.
function blobs.place(id)
  return string.match(redis.call('HGET', 'dcb:blob-sizes', id) or '', '^(%a+) (%d+)$')
end

function blobs.times(place)
  return place == 'redis' and 'dcb:blobs' or 'dcb:blob-files'
end

function blobs.forget(id)
  local place, size = blobs.place(id)
  redis.call('DEL', 'dcb:blob:' .. id)
  redis.call('ZREM', 'dcb:blobs', id)
  redis.call('ZREM', 'dcb:blob-files', id)
  redis.call('HDEL', 'dcb:blob-sizes', id)
  if place then redis.call('HINCRBY', 'dcb:blob-bytes', place == 'redis' and 'redis' or 'folder', '-' .. size) end
end

-- One of the folder stays until its file is gone.
function blobs.ends(id)
  local place = blobs.place(id)
  if place == 'folder' then
    redis.call('ZADD', 'dcb:blob-files', 'XX', now, id)
  elseif place ~= 'ending' then
    blobs.forget(id)
  end
end

function blobs.room(place, id, task, size, keep_ms, most)
  local known, till = blobs.place(id), now + tonumber(keep_ms)
  if known == 'ending' then return 'ending' end
  if known then
    redis.call('ZADD', blobs.times(known), 'XX', 'GT', till, id)
    return 'again'
  end
  if tonumber(redis.call('HGET', 'dcb:blob-bytes', place) or '0') + tonumber(size) > tonumber(most) then
    return 'full'
  end
  redis.call('HSET', 'dcb:blob-sizes', id, place .. ' ' .. size)
  redis.call('HINCRBY', 'dcb:blob-bytes', place, size)
  redis.call('ZADD', blobs.times(place), till, id)
  if task ~= '' then
    redis.call('SADD', 'dcb:blobs-of:' .. task, id)
    redis.call('PEXPIRE', 'dcb:blobs-of:' .. task, keep_ms)
  end
  return 'new'
end

-- With a task that is done.
function blobs.end_with(task)
  local key = 'dcb:blobs-of:' .. task
  local ids = redis.call('SMEMBERS', key)
  if #ids == 0 then return end -- as of nearly every task
  for _, id in ipairs(ids) do blobs.ends(id) end
  redis.call('DEL', key)
end

-- A dead letter may be put back: its files stay as long as it does.
function blobs.keep_with(task, keep_ms)
  local key = 'dcb:blobs-of:' .. task
  for _, id in ipairs(redis.call('SMEMBERS', key)) do
    redis.call('ZADD', blobs.times(blobs.place(id)), 'XX', now + keep_ms, id)
  end
  redis.call('PEXPIRE', key, keep_ms)
end

-- Those in Redis whose time is over, a few at a time.
function blobs.sweep()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'dcb:blobs', '-inf', now, 'LIMIT', 0, blobs.FEW)) do blobs.forget(id) end
end

-- @verb blob_put id task size keep_ms most data -> new|again|full|ending
-- The bytes of one that is kept in Redis, where all of them may have `most` bytes.
function verbs.blob_put()
  local answer = blobs.room('redis', a.id, a.task, a.size, a.keep_ms, a.most)
  if answer == 'new' then redis.call('SET', 'dcb:blob:' .. a.id, a.data) end
  return answer
end

-- @verb blob_reserve id task size keep_ms most -> new|again|full|ending
-- Room in the folder. Written down before there is a file, so that no file is ever left that is not known.
-- One whose file is being deleted is not to be written: "ending".
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
  local found = redis.call('ZRANGEBYSCORE', 'dcb:blob-files', '-inf', now, 'LIMIT', 0, a.limit)
  for _, id in ipairs(found) do
    local _, size = blobs.place(id)
    redis.call('HSET', 'dcb:blob-sizes', id, 'ending ' .. (size or '0'))
    redis.call('ZADD', 'dcb:blob-files', now + blobs.AGAIN, id)
  end
  return found
end
