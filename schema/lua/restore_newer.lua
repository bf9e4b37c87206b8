-- Replaces a record (and journal) that the keys topic knows newer than Redis: a failover lost the last writes (R8). Only where
-- both still are as they were read and nobody holds the lease.
-- KEYS: 1 lease, 2 journal, 3 record, 4 exposed.
-- ARGV: 1 record doc, 2 journal doc ('' = none), 3 direction, 4 number of its last writer, 5 record version and 6 journal version
--       that were read (0 = not there), 7 '1' = the sealed pair beside the journal is that of the new journal, then exposed ids.
-- Returns 1 when it was replaced, else 0.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local r = tonumber(redis.call('HGET', KEYS[3], 'version') or '0')
local j = tonumber(redis.call('HGET', KEYS[2], 'version') or '0')
if r ~= tonumber(ARGV[5]) or j ~= tonumber(ARGV[6]) then return 0 end
local fence = tonumber(redis.call('HGET', KEYS[3], 'fence') or '0')
if tonumber(ARGV[4]) > fence then redis.call('HSET', KEYS[3], 'fence', ARGV[4]) end
redis.call('HSET', KEYS[3], 'version', r + 1, 'opid', 'restore', 'doc', ARGV[1])
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[2], 'version', j + 1, 'token', 'restored', 'opid', 'restore', 'direction', ARGV[3], 'doc', ARGV[2])
  if ARGV[7] ~= '1' then redis.call('HDEL', KEYS[2], 'sealed') end
end
for i = 8, #ARGV do redis.call('SADD', KEYS[4], ARGV[i]) end
return 1
