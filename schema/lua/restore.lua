-- Puts back a record (and an open journal) rebuilt from the events after Redis lost them (R8): only where nothing is there
-- and nobody holds the lease.
-- KEYS: 1 lease, 2 journal, 3 record, 4 exposed.
-- ARGV: 1 record doc, 2 journal doc ('' = none), 3 direction, 4 number of its last writer, then exposed ids.
-- Returns 1 when it was put back, else 0.
if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('HEXISTS', KEYS[3], 'doc') == 1 or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local fence = tonumber(redis.call('HGET', KEYS[3], 'fence') or '0')
if tonumber(ARGV[4]) > fence then redis.call('HSET', KEYS[3], 'fence', ARGV[4]) end
redis.call('HSET', KEYS[3], 'version', 1, 'opid', 'restore', 'doc', ARGV[1])
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[2], 'version', 1, 'token', 'restored', 'opid', 'restore', 'direction', ARGV[3], 'doc', ARGV[2])
end
for i = 5, #ARGV do redis.call('SADD', KEYS[4], ARGV[i]) end
return 1
