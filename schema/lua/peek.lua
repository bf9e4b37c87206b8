-- Reads many users at once, changes nothing.  KEYS: lease, journal, record, exposed for each user.
-- Returns for each {lease ms left (negative: none), journal version, journal doc, record version, record doc, sealed_id, exposed ids, number of the lease}.
local out = {}
for i = 1, #KEYS, 4 do
  local j = redis.call('HMGET', KEYS[i + 1], 'version', 'doc')
  local r = redis.call('HMGET', KEYS[i + 2], 'version', 'doc', 'sealed_id')
  out[#out + 1] = {redis.call('PTTL', KEYS[i]), j[1], j[2], r[1], r[2], r[3], redis.call('SMEMBERS', KEYS[i + 3]), redis.call('HGET', KEYS[i], 'number')}
end
return out
