-- ---------------------------------------------------------------- pieces of a consumer's long SMS
--
--   dcb:pieces             task -> ms when it is posted, whatever has come of it by then; while pieces are missing
--   dcb:pieces:<task>      number -> the text of a piece, as the inside of a JSON string; head, the JSON before the text;
--                          set, the digest under which the others find it
--   dcb:pieces-of:<set>    the task of which pieces are missing; a set is one reference number from one consumer to us
--   dcb:piece:<id>         a piece that came, so that it is recognised when it comes again
--
-- The first piece that comes makes the task and takes its place in the conversation. The task's payload is whole at any
-- time: an older version that claims it posts what is there. A phone counts its references in 8 bits, so the same set may
-- come again: it is another message once the first one is claimed, or has this piece already.

local tasks = {
  PIECES_KEPT = 3600000, -- ms beyond the time limit until pieces are forgotten by themselves
}

-- Nothing more is added to it.
function tasks.pieces_close(id)
  local key = 'dcb:pieces:' .. id
  local set = redis.call('HGET', key, 'set')
  if set and redis.call('GET', 'dcb:pieces-of:' .. set) == id then redis.call('DEL', 'dcb:pieces-of:' .. set) end
  redis.call('DEL', key)
  redis.call('ZREM', 'dcb:pieces', id)
end

-- It waits for nothing but its turn.
function tasks.pieces_go(id)
  local key = 'dcb:t:' .. id
  redis.call('ZREM', 'dcb:pieces', id)
  local f = redis.call('HMGET', key, F.state, F.lane, F.queued_at)
  if f[1] ~= T.waiting then return end
  redis.call('HDEL', key, F.not_before)
  if lane_is_head(f[2], 't:' .. id) and not f[3] then ready('t:' .. id) end
end

-- The text as far as it is there, with a mark in each gap.
function tasks.pieces_write(id, count)
  local found = redis.call('HGETALL', 'dcb:pieces:' .. id)
  local held, here, texts = {}, 0, {}
  for i = 1, #found, 2 do held[found[i]] = found[i + 1] end
  for number = 1, count do
    local one = held[tostring(number)]
    here = here + (one and 1 or 0)
    texts[number] = one or '[\\u2026]'
  end
  redis.call('HSET', 'dcb:t:' .. id, F.payload, held.head .. '"' .. table.concat(texts) .. '"}', F.pieces_here, here)
  if here == count then
    tasks.pieces_close(id)
    tasks.pieces_go(id)
  end
end

-- @verb piece_put id set number count channel lane trace head text wait_ms keep_ms most consumer index_ms -> new|joined|again
-- id: the task that this piece makes where it is the first. most: messages that may wait for pieces; the one that has
-- waited longest goes as it is.
function verbs.piece_put()
  local id, count, wait_ms = a.id, tonumber(a.count), tonumber(a.wait_ms)
  local mark, of = 'dcb:piece:' .. id, 'dcb:pieces-of:' .. a.set
  -- Or it is a message of its own already: a version without pieces has read this callback before.
  if redis.call('EXISTS', mark, 'dcb:t:' .. id) > 0 then return 'again' end
  redis.call('SET', mark, '1', 'PX', tonumber(a.keep_ms))
  local open, result = redis.call('GET', of), 'joined'
  if open and redis.call('HEXISTS', 'dcb:pieces:' .. open, a.number) == 1 then
    tasks.pieces_go(open)
    open = nil
  end
  if not open then
    local key = 'dcb:t:' .. id
    open, result = id, 'new'
    redis.call('HSET', key, F.state, T.waiting, F.job, 'consumer', F.lane, a.lane, F.trace_id, a.trace, F.channel_id, a.channel,
      F.accepted_at, now, F.attempts, 0, F.not_before, now + wait_ms, F.piece_count, count)
    redis.call('SET', of, id, 'PX', wait_ms + tasks.PIECES_KEPT)
    redis.call('HSET', 'dcb:pieces:' .. id, 'set', a.set, 'head', a.head)
    redis.call('PEXPIRE', 'dcb:pieces:' .. id, wait_ms + tasks.PIECES_KEPT)
    redis.call('ZADD', 'dcb:tasks:consumer', now, id)
    redis.call('HINCRBY', 'dcb:counts', 'consumer_accepted', 1)
    redis.call('ZADD', 'dcb:pieces', now + wait_ms, id)
    index.wrote(id, a.consumer, tonumber(a.index_ms))
    lane_push(a.lane, 't:' .. id)
    if redis.call('ZCARD', 'dcb:pieces') > tonumber(a.most) then
      tasks.pieces_go(redis.call('ZRANGE', 'dcb:pieces', 0, 0)[1])
    end
  end
  redis.call('HSET', 'dcb:pieces:' .. open, a.number, a.text)
  tasks.pieces_write(open, count)
  return result
end
