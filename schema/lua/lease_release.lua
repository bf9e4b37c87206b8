-- Gives the lease back in good order: the holder has no call under way. So the journal's writer is forgotten, and the next
-- holder need not wait out calls of a frozen predecessor (R7). A predecessor whose wait the journal does not have yet is named again.
-- KEYS: 1 lease, 2 journal.  ARGV: 1 token.  Returns 1 when it was ours, else 0.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
if redis.call('HGET', KEYS[2], 'token') == ARGV[1] then redis.call('HSET', KEYS[2], 'token', redis.call('HGET', KEYS[1], 'before') or '') end
redis.call('DEL', KEYS[1])
return 1
