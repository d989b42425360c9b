-- ---------------------------------------------------------------- history: what the other fields of an entry cannot tell

-- Fields h0…h31 of an entry: a ring of lines "<ms since accepted> <word> …", hn lines written so far. Being fields they
-- end with the entry; being short they leave its encoding compact. A message that is sent at the first attempt has none
-- but those of its delivery updates. Words are ours and a provider's codes, never what a person wrote.
local HISTORY, LINE = 32, 64

local function note(key, ...)
  local at = redis.call('HGET', key, 'at')
  if not at then return end
  local words = {now - tonumber(at)}
  for _, word in ipairs({...}) do words[#words + 1] = word end
  local n = redis.call('HINCRBY', key, 'hn', 1) - 1
  redis.call('HSET', key, 'h' .. n % HISTORY, string.sub(table.concat(words, ' '), 1, LINE))
end

-- An attempt that ended, and how. The first began at hs, a later one at cs.
local function note_attempt(key, ...)
  local f = redis.call('HMGET', key, 'ta', 'cs', 'hs')
  note(key, 'try', f[1] or '0', now - tonumber(f[2] or f[3] or now), ...)
end
