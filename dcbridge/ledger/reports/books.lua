-- The figures of some channels, each at one moment. ARGV: how many receipts are looked at for the oldest, channels…
-- -> for each channel {accepted, delivered, removed, failed, unconfirmed, again, in flight, ms when the oldest in flight was
-- accepted, receipts owed, ms since when the oldest of these is owed}; 0 for what is not there or cannot be read.

local LOOKED_AT = tonumber(ARGV[1])

local function number(value)
  return type(value) == 'string' and tonumber(value) or type(value) == 'number' and value or 0
end

local function ask(...)
  local answer = redis.pcall(...)
  return type(answer) == 'table' and answer.err and {} or answer
end

-- When a receipt is due says nothing of how long it is owed: each try puts it off. The longest waits are those of the
-- oldest, so with a backlog of any size both ends of the order are near enough.
local function owed_since(key)
  local oldest = 0
  for _, ends in ipairs({ask('ZRANGE', key, 0, LOOKED_AT / 2 - 1), ask('ZRANGE', key, -LOOKED_AT / 2, -1)}) do
    for _, ref in ipairs(ends) do
      local f = ask('HMGET', 'dcb:m:' .. ref, F.receipt_owed_at, F.ended_at)
      local since = number(f[1] or f[2])
      if since > 0 and (oldest == 0 or since < oldest) then oldest = since end
    end
  end
  return oldest
end

local found = {}
for i = 2, #ARGV do
  local channel = ARGV[i]
  local row = ask('HMGET', 'dcb:books:' .. channel, 'accepted', 'delivered', 'removed', 'failed', 'unconfirmed', 'again')
  for n = 1, 6 do row[n] = number(row[n]) end
  row[7] = number(ask('ZCARD', 'dcb:open:' .. channel))
  row[8] = row[7] > 0 and number(ask('ZRANGE', 'dcb:open:' .. channel, 0, 0, 'WITHSCORES')[2]) or 0
  row[9] = number(ask('ZCARD', 'dcb:receipts:' .. channel))
  row[10] = row[9] > 0 and owed_since('dcb:receipts:' .. channel) or 0
  found[#found + 1] = row
end
return found
