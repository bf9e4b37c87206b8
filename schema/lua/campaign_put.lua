-- Writes a campaign's document, if it is at the revision that we know.  KEYS: 1 documents, 2 revisions.
-- ARGV: 1 name, 2 expected revision (0: there is none), 3 opid, 4 doc.
-- Returns {'OK', new revision} | {'VERSION', revision}.
local now = redis.call('HGET', KEYS[2], ARGV[1])
local revision, opid = 0, ''
if now then revision, opid = string.match(now, '^(%d+) (.*)$') end
if tonumber(revision) == tonumber(ARGV[2]) + 1 and opid == ARGV[3] then return {'OK', tonumber(revision)} end
if tonumber(revision) ~= tonumber(ARGV[2]) then return {'VERSION', tonumber(revision)} end
redis.call('HSET', KEYS[2], ARGV[1], string.format('%d %s', ARGV[2] + 1, ARGV[3]))
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
return {'OK', ARGV[2] + 1}
