-- Takes the lease of one user and loads all that is known of it, in one round trip.
-- KEYS: 1 lease, 2 journal, 3 record, 4 exposed, 5 hold-off.  ARGV: 1 token, 2 lifetime in ms, 3 hold-off length in ms.
-- Returns {'HOLD', ms} | {'HELD', ms} | {'OK', number, now_ms, journal {version, token, doc, sealed}, record {version, doc, sealed_id, sealed}, end of the last hold-off in ms, exposed ids}.
-- The number is max(stored + 1, server time): it grows even when the stored one was lost (R3).
local LONGEST = 600000 -- no lease may last longer (setting lease_ttl)
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local hold = redis.call('GET', KEYS[5])
if not hold then -- flushed under us: other workers may still act on leases that are gone
  redis.call('SET', KEYS[5], string.format('%.0f', now + tonumber(ARGV[3])))
  return {'HOLD', tonumber(ARGV[3])}
end
if tonumber(hold) > now + tonumber(ARGV[3]) then -- the server's clock was set back
  hold = string.format('%.0f', now + tonumber(ARGV[3]))
  redis.call('SET', KEYS[5], hold)
end
if tonumber(hold) > now then return {'HOLD', tonumber(hold) - now} end
local holder = redis.call('HGET', KEYS[1], 'token')
if holder and holder ~= ARGV[1] then
  local left = redis.call('PTTL', KEYS[1])
  if left > LONGEST then -- the same: a living holder renews it
    left = tonumber(ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
  end
  return {'HELD', left}
end
local number
if holder then
  number = tonumber(redis.call('HGET', KEYS[1], 'number'))
else
  number = math.max(tonumber(redis.call('HGET', KEYS[3], 'fence') or '0') + 1, now)
  redis.call('HSET', KEYS[3], 'fence', string.format('%.0f', number))
  redis.call('HSET', KEYS[1], 'token', ARGV[1], 'number', string.format('%.0f', number))
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local j = redis.call('HMGET', KEYS[2], 'version', 'token', 'doc', 'sealed')
local r = redis.call('HMGET', KEYS[3], 'version', 'doc', 'sealed_id', 'sealed')
return {'OK', string.format('%.0f', number), string.format('%.0f', now), j, r, hold, redis.call('SMEMBERS', KEYS[4])}
