-- Reads many users at once, changes nothing.  KEYS: lease, journal, record, exposed for each user.
-- Returns for each {lease ms left (negative: none), journal version, journal doc, record version, record doc, sealed_id, the server's time in ms, number of the lease, exposed ids}.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local out = {}
for i = 1, #KEYS, 4 do
  local j = redis.call('HMGET', KEYS[i + 1], 'version', 'doc')
  local r = redis.call('HMGET', KEYS[i + 2], 'version', 'doc', 'sealed_id')
  out[#out + 1] = {redis.call('PTTL', KEYS[i]), j[1], j[2], r[1], r[2], r[3], string.format('%.0f', now), redis.call('HGET', KEYS[i], 'number'), redis.call('SMEMBERS', KEYS[i + 3])}
end
return out
