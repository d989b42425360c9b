-- ---------------------------------------------------------------- history: what the other fields of an entry cannot tell

-- The `history` of an entry is a ring of lines "<ms since accepted> <word> …", a field for each. Being fields they
-- end with the entry; being short they leave its encoding compact. A message that is sent at the first attempt has none
-- but those of its delivery updates. Words are ours and a provider's codes, never what a person wrote.
local HISTORY, LINE = 32, 64

local function note(key, ...)
  local at = redis.call('HGET', key, F.accepted_at)
  if not at then return end
  local words = {now - tonumber(at)}
  for _, word in ipairs({...}) do words[#words + 1] = word end
  local n = redis.call('HINCRBY', key, F.history_length, 1) - 1
  redis.call('HSET', key, F.history .. n % HISTORY, string.sub(table.concat(words, ' '), 1, LINE))
end

-- An attempt that ended, and how. The first began at `began_at`, a later one at `attempt_began_at`.
local function note_attempt(key, ...)
  local f = redis.call('HMGET', key, F.total_attempts, F.attempt_began_at, F.began_at)
  note(key, 'try', f[1] or '0', now - tonumber(f[2] or f[3] or now), ...)
end
