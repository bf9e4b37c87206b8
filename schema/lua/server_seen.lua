-- Called once on each connection, before anything else: has the server's run or replication id changed since leases were last
-- given? Then leases may have been lost with unwritten data, and none is given for one lease lifetime (R3).
-- KEYS: 1 server id, 2 hold-off until (ms).  ARGV: 1 "run_id repl_id", 2 hold-off length in ms.
-- Returns the remaining hold-off in ms, 0 = none.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[2], string.format('%.0f', now + tonumber(ARGV[2])))
end
local hold = tonumber(redis.call('GET', KEYS[2]) or '0')
if hold > now + tonumber(ARGV[2]) then
  hold = now + tonumber(ARGV[2]) -- the server's clock was set back
  redis.call('SET', KEYS[2], string.format('%.0f', hold))
end
if hold > now then return hold - now end
return 0
