-- Takes or renews the lead of the schedulers.  KEYS: 1 leader.  ARGV: 1 token, 2 lifetime in ms.
-- Returns {'OK'} | {'HELD', ms left, token of the holder}.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if left > 600000 then -- the server's clock was set back: no lead lasts as long, and a living leader renews it
    left = tonumber(ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
  end
  return {'HELD', left, holder}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'OK'}
