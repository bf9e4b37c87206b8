-- Writes the record, if the lease is ours and record and journal are at the versions that we know; optionally ends the
-- journal and gives the lease back in the same step, so that "finished" is one fact.
-- KEYS: 1 lease, 2 journal, 3 record.
-- ARGV: 1 token, 2 expected record version, 3 opid, 4 doc, 5 journal: 'keep' | 'end', 6 expected journal version,
--       7 sealed pair: 'same' | 'drop' | 'journal' (take over the journal's), 8 its key id, 9 lease: 'keep' | 'release'.
-- Returns {'OK', record version} | {'LEASE'} | {'VERSION', record version, journal version}.
local done = redis.call('HMGET', KEYS[3], 'version', 'opid')
local version = tonumber(done[1] or '0')
if version == tonumber(ARGV[2]) + 1 and done[2] == ARGV[3] then return {'OK', version} end
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return {'LEASE'} end
local j = redis.call('HMGET', KEYS[2], 'version', 'sealed')
local jversion = tonumber(j[1] or '0')
if version ~= tonumber(ARGV[2]) or jversion ~= tonumber(ARGV[6]) then return {'VERSION', version, jversion} end
redis.call('HSET', KEYS[3], 'version', version + 1, 'opid', ARGV[3], 'doc', ARGV[4])
if ARGV[7] == 'drop' then redis.call('HDEL', KEYS[3], 'sealed', 'sealed_id') end
if ARGV[7] == 'journal' and j[2] then redis.call('HSET', KEYS[3], 'sealed', j[2], 'sealed_id', ARGV[8]) end
if ARGV[5] == 'end' then redis.call('DEL', KEYS[2]) end
if ARGV[9] == 'release' then
  if ARGV[5] ~= 'end' and redis.call('HGET', KEYS[2], 'token') == ARGV[1] then redis.call('HSET', KEYS[2], 'token', redis.call('HGET', KEYS[1], 'before') or '') end
  redis.call('DEL', KEYS[1])
end
return {'OK', version + 1}
