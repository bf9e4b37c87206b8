-- KEYS: 1 lease.  ARGV: 1 token, 2 lifetime in ms.  Returns 1 when it is still ours, else 0.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
