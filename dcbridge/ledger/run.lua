-- Run every verb of the call. One that fails says so in its own answer and leaves the others alone.

local answers, at = {}, 2
while at <= #given do
  local words = tonumber(given[at])
  ARGV = {given[at + 1], iso}
  for i = at + 2, at + words do ARGV[#ARGV + 1] = given[i] end
  local ok, answer = pcall(verbs[ARGV[1]])
  if not ok then
    local known, instead = pcall(aside.answer, ARGV[1], ARGV[3])
    answer = known and instead
      or redis.error_reply('LEDGER ' .. tostring(type(answer) == 'table' and answer.err or answer))
  end
  answers[#answers + 1] = answer
  at = at + words + 1
end
count_all_taken()
return answers
