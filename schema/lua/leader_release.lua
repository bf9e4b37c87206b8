-- Gives the lead back, if it is ours.  KEYS: 1 leader.  ARGV: 1 token.  Returns 1 when it was, else 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
