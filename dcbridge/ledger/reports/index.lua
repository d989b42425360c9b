-- One look into a list of the index (index.lua), from the newest to the oldest. ARGV: the list, or "" for the refs at the
-- end; the place where to begin, -1 for its end; how many to look at; how many to find; what the members begin with; channel,
-- provider, state, ms after and before which they were accepted, "" for any; 1 where the list is in the order of acceptance;
-- 1 for consumers' messages too; refs…
-- -> {the place to go on, -1 at the end, how many entries were looked at, how many members were passed, refs that match…}

local list, from, most, limit, prefix = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local channel, provider, state, after, before = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local in_order, with_tasks = ARGV[11] == '1', ARGV[12] == '1'

local function fields_of(member)
  local key = string.sub(member, 1, 2) == 't:' and 'dcb:' .. member or 'dcb:m:' .. member
  local f = redis.pcall('HMGET', key, F.state, F.accepted_at, F.channel_id, F.provider)
  return not f.err and f[1] and tonumber(f[2]) and f or nil
end

-- The place of the last one that was accepted before then. One that is forgotten counts as older.
local function place_before(key, size)
  local low, high = -1, size - 1
  while low < high do
    local middle = math.ceil((low + high) / 2)
    local f = fields_of(redis.call('LINDEX', key, middle))
    if not f or tonumber(f[2]) < before then low = middle else high = middle - 1 end
  end
  return low
end

local members = {}
if list ~= '' then
  local size = redis.call('LLEN', list)
  if from < 0 or from >= size then
    from = size - 1
    if in_order and before and size > 0 then from = place_before(list, size) end
  end
  if from >= 0 then members = redis.call('LRANGE', list, math.max(0, from - most + 1), from) end
else
  for i = 13, #ARGV do members[#members + 1] = ARGV[i] end
  from = #members - 1
end

local function matches(f)
  local at = tonumber(f[2])
  return (channel == '' or channel == f[3] or 'own/' .. channel == f[3]) and (provider == '' or provider == f[4])
    and (state == '' or state == f[1]) and not (after and at < after) and not (before and at >= before)
end

local found, looked, place = {}, 0, from
for i = #members, 1, -1 do
  local member = members[i]
  place = place - 1
  local hit = prefix == '' or string.sub(member, 1, #prefix) == prefix
  if hit then
    looked = looked + 1
    member = string.sub(member, #prefix + 1)
    local f = (with_tasks or string.sub(member, 1, 2) ~= 't:') and fields_of(member)
    if f and matches(f) then found[#found + 1] = member end
    if f and in_order and after and tonumber(f[2]) < after then
      place = -1
      break
    end
    if #found == limit then break end
  end
end
return {math.max(-1, place), looked, from - place, unpack(found)}
