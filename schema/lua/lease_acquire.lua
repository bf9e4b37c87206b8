-- Takes the lease of one user and loads all that is known of it, in one round trip.
-- KEYS: 1 lease, 2 journal, 3 record, 4 exposed, 5 hold-off.  ARGV: 1 token, 2 lifetime in ms, 3 hold-off length in ms,
-- 4 the asker's time in ms (none: 0).
-- Returns {'HOLD', ms} | {'HELD', ms} | {'OK', number, now_ms, journal {version, token of the predecessor, doc, sealed, ms when it was found gone}, record {version, doc, sealed_id, sealed}, end of the last hold-off in ms, exposed ids}.
-- The number is max(stored + 1, server time, asker's time): it grows even when the stored one was lost (R3), and the server's
-- clock was set back since. An asker may be ahead by a day at most.
-- The journal's token names whoever had the lease last and did not give it back: a call of it may still land (R7). So the
-- taker is written there at once, before any effect; `late` is that predecessor and when it was found gone, and the lease keeps
-- its name for a grant whose reply was lost.
local LONGEST = 600000 -- no lease may last longer (setting lease_ttl)
local AHEAD = 86400000
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
local j = redis.call('HMGET', KEYS[2], 'version', 'token', 'doc', 'sealed', 'late')
if holder then
  local h = redis.call('HMGET', KEYS[1], 'number', 'before')
  number = tonumber(h[1])
  if h[2] then j[2] = h[2] end
else
  local asker = math.min(tonumber(ARGV[4] or '0'), now + AHEAD)
  number = math.max(tonumber(redis.call('HGET', KEYS[3], 'fence') or '0') + 1, now, asker)
  redis.call('HSET', KEYS[3], 'fence', string.format('%.0f', number))
  redis.call('HSET', KEYS[1], 'token', ARGV[1], 'number', string.format('%.0f', number), 'before', j[2] or '')
  if j[1] then
    if j[2] and j[2] ~= '' and string.match(j[5] or '', '^%S*') ~= j[2] then j[5] = string.format('%s %.0f', j[2], now) end
    redis.call('HSET', KEYS[2], 'token', ARGV[1], 'late', j[5] or '')
  end
end
j[5] = string.match(j[5] or '', '%d+$') or '0'
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local r = redis.call('HMGET', KEYS[3], 'version', 'doc', 'sealed_id', 'sealed')
return {'OK', string.format('%.0f', number), string.format('%.0f', now), j, r, hold, redis.call('SMEMBERS', KEYS[4])}
