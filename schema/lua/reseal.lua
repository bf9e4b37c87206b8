-- Replaces sealed pairs by the same pairs under another master key, if the lease is ours and journal and record are at the
-- versions that we know. Nothing else changes: not the documents, not the direction, and not the journal's writer, so that
-- a takeover is still seen as one (R7). Repeating it (same opid) after a lost reply is answered like the first time.
-- KEYS: 1 lease, 2 journal, 3 record.
-- ARGV: 1 token, 2 opid, 3 journal version, 4 its sealed pair ('' keeps), 5 record version, 6 its sealed pair ('' keeps).
-- Returns {'OK', record version} | {'LEASE'} | {'VERSION', record version, journal version}.
local j = redis.call('HMGET', KEYS[2], 'version', 'opid', 'sealed')
local r = redis.call('HMGET', KEYS[3], 'version', 'opid', 'sealed')
local jversion, rversion = tonumber(j[1] or '0'), tonumber(r[1] or '0')
local jdone = ARGV[4] == '' or (jversion == tonumber(ARGV[3]) + 1 and j[2] == ARGV[2])
local rdone = ARGV[6] == '' or (rversion == tonumber(ARGV[5]) + 1 and r[2] == ARGV[2])
if jdone and rdone then return {'OK', rversion} end
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return {'LEASE'} end
local same = jversion == tonumber(ARGV[3]) and rversion == tonumber(ARGV[5])
if not same or (ARGV[4] ~= '' and not j[3]) or (ARGV[6] ~= '' and not r[3]) then return {'VERSION', rversion, jversion} end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[2], 'version', jversion + 1, 'opid', ARGV[2], 'sealed', ARGV[4]) end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[3], 'version', rversion + 1, 'opid', ARGV[2], 'sealed', ARGV[6]) end
return {'OK', tonumber(redis.call('HGET', KEYS[3], 'version') or '0')}
