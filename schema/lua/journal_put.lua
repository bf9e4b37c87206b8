-- Writes the journal, if the lease is ours and the journal is at the version that we know (equality, R3), and never turns a
-- direction that was decided (R1). What is written has the wait for a predecessor's calls in it, so that one need not be named
-- any more. Repeating the same write (same opid) after a lost reply is answered like the first time.
-- KEYS: 1 lease, 2 journal.
-- ARGV: 1 token, 2 expected version, 3 opid, 4 direction, 5 doc, 6 sealed ('' keeps what is there).
-- Returns {'OK', version} | {'LEASE'} | {'VERSION', version} | {'DIRECTION', direction}.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return {'LEASE'} end
local j = redis.call('HMGET', KEYS[2], 'version', 'opid', 'direction')
local version = tonumber(j[1] or '0')
local expected = tonumber(ARGV[2])
if version == expected + 1 and j[2] == ARGV[3] then return {'OK', version} end
if version ~= expected then return {'VERSION', version} end
if j[3] and j[3] ~= '' and j[3] ~= ARGV[4] then return {'DIRECTION', j[3]} end
redis.call('HSET', KEYS[2], 'version', version + 1, 'token', ARGV[1], 'opid', ARGV[3], 'direction', ARGV[4], 'doc', ARGV[5])
redis.call('HSET', KEYS[1], 'before', '')
if ARGV[6] ~= '' then redis.call('HSET', KEYS[2], 'sealed', ARGV[6]) end
return {'OK', version + 1}
