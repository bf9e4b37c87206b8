-- Asked before every create: is anything paused, and is this hour's allowance used up? Counts the one that passes.
-- Sixty-one one-minute counters: in no window of sixty minutes do more than the allowance pass.
-- KEYS: 1 pause of all, 2 pause of the account, 3 counters.  ARGV: 1 most per hour, below 0: any number.
-- Returns {'OK'} | {'PAUSED', 'all' or 'account', reason} | {'LIMITED', ms until the oldest counted minute is out}.
local p = redis.call('GET', KEYS[1])
if p then return {'PAUSED', 'all', p} end
p = redis.call('GET', KEYS[2])
if p then return {'PAUSED', 'account', p} end
local t = redis.call('TIME')
local minute = math.floor(tonumber(t[1]) / 60)
local counts = redis.call('HGETALL', KEYS[3])
local sum, oldest, most = 0, minute, tonumber(ARGV[1])
for i = 1, #counts, 2 do
  local m = tonumber(counts[i])
  if m < minute - 60 or m > minute + 1 then
    redis.call('HDEL', KEYS[3], counts[i])
  else
    sum = sum + tonumber(counts[i + 1])
    if m < oldest then oldest = m end
  end
end
if most >= 0 and sum >= most then
  return {'LIMITED', ((oldest + 61) * 60 - tonumber(t[1])) * 1000}
end
redis.call('HINCRBY', KEYS[3], string.format('%.0f', minute), 1)
redis.call('EXPIRE', KEYS[3], 7200)
return {'OK'}
