-- Messages accepted within some time, from the index of a day (index.lua): how many, and what became of a sample of them.
-- ARGV: the list of the day; from, up to, in ms; how many to look at
-- -> {how many, {state, accepted at, ended at}…}

local list, from, to, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local size = redis.call('LLEN', list)

local function accepted_at(place)
  return tonumber(redis.call('HGET', 'dcb:m:' .. redis.call('LINDEX', list, place), F.accepted_at) or '') or 0
end

-- How many of the list were accepted before then. One that is forgotten counts as older: the list is in that order.
local function before(at)
  local low, high = 0, size
  while low < high do
    local middle = math.floor((low + high) / 2)
    if accepted_at(middle) < at then low = middle + 1 else high = middle end
  end
  return low
end

local first, last = before(from), before(to)
local count = last - first
local step = math.max(1, count / most)
local found = {count}
for n = 0, math.min(count, most) - 1 do
  local f = redis.call('HMGET', 'dcb:m:' .. redis.call('LINDEX', list, first + math.floor(n * step)), F.state, F.accepted_at, F.ended_at)
  if f[1] then found[#found + 1] = {f[1], f[2] or '', f[3] or ''} end
end
return found
