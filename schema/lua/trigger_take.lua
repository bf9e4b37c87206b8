-- May this trigger ask for work? Each thing once, each licence so often an hour.
-- KEYS: 1 what was seen, 2 the licence's hour.
-- ARGV: 1 the message it came in, 2 how long it counts as seen (ms), 3 most per licence and hour.
-- A message that comes again (its outcome was not committed) is let through again. Returns 'TAKEN' | 'SEEN' | 'LIMITED'.
local seen = redis.call('GET', KEYS[1])
if seen == ARGV[1] then return 'TAKEN' end
if seen then return 'SEEN' end
local count = tonumber(redis.call('GET', KEYS[2]) or '0')
if count >= tonumber(ARGV[3]) then return 'LIMITED' end
redis.call('INCR', KEYS[2])
if count == 0 then redis.call('PEXPIRE', KEYS[2], 3600000) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'TAKEN'
