-- The figures of some channels, each at one moment. ARGV: how many receipts are looked at for the oldest, channels…
-- -> for each channel {accepted, delivered, removed, failed, unconfirmed, again, in flight, ms when the oldest in flight was
-- accepted, receipts owed, ms since when the oldest of these is owed, {{provider, accepted, delivered, removed, failed,
-- unconfirmed, unknown, left, doubled, in flight}…}}; 0 for what is not there or cannot be read.

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

-- Of a channel that had several providers (routes.lua). `books`: all of its hash.
local function providers_of(channel, books)
  local places = {accepted = 2, delivered = 3, removed = 4, failed = 5, unconfirmed = 6, unknown = 7, left = 8, doubled = 9}
  local rows, by_name = {}, {}
  for i = 1, #books, 2 do
    local name, word = string.match(books[i], '^([^|]+)|(%l+)$')
    if name and places[word] then
      if not by_name[name] then
        by_name[name] = {name, 0, 0, 0, 0, 0, 0, 0, 0, number(ask('ZCARD', 'dcb:with:' .. name .. '/' .. channel))}
        rows[#rows + 1] = by_name[name]
      end
      by_name[name][places[word]] = number(books[i + 1])
    end
  end
  return rows
end

local found = {}
for i = 2, #ARGV do
  local channel = ARGV[i]
  local books, by_word, row = ask('HGETALL', 'dcb:books:' .. channel), {}, {}
  for n = 1, #books, 2 do by_word[books[n]] = books[n + 1] end
  for n, word in ipairs({'accepted', 'delivered', 'removed', 'failed', 'unconfirmed', 'again'}) do row[n] = number(by_word[word]) end
  row[7] = number(ask('ZCARD', 'dcb:open:' .. channel))
  row[8] = row[7] > 0 and number(ask('ZRANGE', 'dcb:open:' .. channel, 0, 0, 'WITHSCORES')[2]) or 0
  row[9] = number(ask('ZCARD', 'dcb:receipts:' .. channel))
  row[11] = providers_of(channel, books)
  row[10] = row[9] > 0 and owed_since('dcb:receipts:' .. channel) or 0
  found[#found + 1] = row
end
return found
