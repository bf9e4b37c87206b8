-- Takes or renews the lead of the schedulers.  KEYS: 1 leader.  ARGV: 1 token, 2 lifetime in ms.
-- Returns {'OK'} | {'HELD', ms left, token of the holder}.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {'HELD', redis.call('PTTL', KEYS[1]), holder} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'OK'}
