-- ---------------------------------------------------------------- the index: which messages an operator may search for
--
--   dcb:ix                 days of which there is an index, as a number of days since 1970
--   dcb:ix:<day>           refs of all messages accepted on that day, in that order
--   dcb:ix:<day>:c/<channel>    the same of one channel, its own messages (own.lua) included
--   dcb:ix:<day>:p/<provider>   those that went through a provider, in the order of their first attempt with it
--   dcb:ix:<day>:s/<state>      those that failed, were removed or were never confirmed, in the order in which they ended
--   dcb:ix:<day>:n/<two>        by consumer: what remains of the digest of the address, and then the ref, or "t:" and the
--                               task of what the consumer wrote; a list for each first two digits of the digests
--
-- Nothing is taken out of these lists: each ends as a whole, a day or two after the messages of its day are forgotten. A
-- list costs 27 bytes a message, where a sorted set costs 100. What has not ended yet is found in dcb:open:<channel>.
-- `keep`: for how many ms a list is kept; 0 where nothing is indexed. A list that is damaged, or that a newer version keeps in
-- another way, stops no message: what was written before an error would stay.

local index = {DAYS = 400} -- that are remembered at most

function index.day(at)
  return 'dcb:ix:' .. string.format('%.0f', math.floor((tonumber(at) or 0) / 86400000))
end

function index.add(key, member, keep)
  if redis.pcall('RPUSH', key, member) == 1 then redis.call('PEXPIRE', key, keep) end
end

-- `consumer`: the digest of the address, "" for none.
function index.of_consumer(member, consumer, keep)
  if keep == 0 or consumer == '' then return end
  index.add(index.day(now) .. ':n/' .. string.sub(consumer, 1, 2), string.sub(consumer, 3) .. member, keep)
end

-- A task that hands on what a consumer wrote.
function index.wrote(id, consumer, keep)
  if keep == 0 or consumer == '' then return end
  redis.call('HSET', 'dcb:t:' .. id, F.consumer, consumer)
  index.of_consumer('t:' .. id, consumer, keep)
end

function index.accepted(ref, channel, consumer, keep)
  if keep == 0 then return end
  index.today = index.today or index.day(now)
  local key = index.today
  if redis.pcall('RPUSH', key, ref) == 1 then
    redis.call('PEXPIRE', key, keep)
    local day = math.floor(now / 86400000)
    redis.pcall('ZADD', 'dcb:ix', day, day)
    redis.pcall('ZREMRANGEBYSCORE', 'dcb:ix', '-inf', day - index.DAYS)
  end
  index.add(key .. ':c/' .. string.gsub(channel, '^own/', ''), ref, keep)
  index.of_consumer(ref, consumer, keep)
end

-- It goes through another provider than before, or through its first.
function index.claimed(ref, provider, accepted_at, keep)
  if keep > 0 then index.add(index.day(accepted_at) .. ':p/' .. provider, ref, keep) end
end

-- One that was delivered is found among all.
function index.ended(ref, state, accepted_at)
  if state == S.delivered then return end
  local day = index.day(accepted_at)
  local left = redis.call('PTTL', day)
  if left > 0 then index.add(day .. ':s/' .. state, ref, left) end
end
