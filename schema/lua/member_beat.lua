-- A worker's sign of life with what it tells of itself, and how many workers give one.
-- KEYS: 1 members, a hash: token -> server time (ms) until which it counts, a space, what it tells.
-- ARGV: 1 token, 2 lifetime in ms, 3 what it tells.
-- Returns how many there are, this one included.
local t = redis.call('TIME')
local now, life = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000), tonumber(ARGV[2])
local all, n = redis.call('HGETALL', KEYS[1]), 1
for i = 1, #all, 2 do
  local till = tonumber(string.match(all[i + 1], '^%d+'))
  if till and till > now and till <= now + 2 * life then -- later: the server's clock was set back, the living come again
    if all[i] ~= ARGV[1] then n = n + 1 end
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now + life) .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return n
