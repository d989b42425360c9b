-- ---------------------------------------------------------------- stopped: who waits for an operator (controls.lua)

-- Those who wait for no rate do not add to a queue that is full.
function ADVANCE.k(key, most)
  local control = controls.of(string.sub(key, 3))
  if control then
    look_later(key, math.min(control.till or now + LOOK_LATE, now + LOOK_LATE))
    return 0
  end
  local room = math.min(most, FULL - redis.call('LLEN', 'rq:queue:outbound'))
  if room <= 0 then
    look_later(key, now + 1)
    return 0
  end
  local refs = redis.call('ZRANGE', 'dcb:line:' .. key, 0, room - 1)
  for _, ref in ipairs(refs) do
    redis.call('ZREM', 'dcb:line:' .. key, ref)
    aside.try('m:' .. ref, line_up_again, ref, key)
  end
  if redis.call('EXISTS', 'dcb:line:' .. key) == 1 then look_later(key, now) else redis.call('ZREM', 'dcb:lines', key) end
  return #refs
end
