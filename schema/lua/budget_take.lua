-- Reserves slots on the timeline of one budget (account and API family), which all workers share, and learns from what they
-- report how many calls a second AWS bears. Slots are evenly spaced, so no reservation makes a burst.
--   grow   nothing was refused yet: the rate is raised by a quarter of the starting rate each second, while calls wait for it
--   cut    Throttling: half the rate for a moment
--   hold   the rate that worked
--   probe  now and then, while calls wait: a fifth more; when that works for long enough it is the new rate, and more is tried
-- AWS tells no rate. Its limits are token buckets: after a rest a whole bucket is there, so the rate that was refused after
-- t seconds of too many is p * t / (t + b) for a bucket of b seconds; when b is guessed wrong the next refusal tells.
-- KEYS: 1 budget.
-- ARGV: 1 slots wanted, 2 1 = emergency, 3 calls throttled since the last report, 4 epoch under which they were sent,
--       5 rate to start with (calls/s), 6 share of what works that is used (0..1), 7 most that is tried (calls/s),
--       8 slots given up because of Throttling.
-- Returns {epoch, slots, us to the first, us between them, ms they stay valid, ms to wait when none, rate and base in 1/1000 s}.
local HORIZON, CUT, HOLD, RARE, TRY, TRY_AGAIN, SLACK = 4000, 700, 9000, 300000, 7000, 3500, 500
local want, emergency, throttled, sent_epoch = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3]), tonumber(ARGV[4])
local start, share, most, dropped = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + tonumber(t[2]) / 1000
local h = redis.call('HMGET', KEYS[1], 'base', 'mode', 'since', 'next', 'first', 'epoch', 'level', 'cut', 'before', 'rate', 'deaf', 'peak', 'stage')
local base, mode, since = tonumber(h[1] or start), h[2] or 'grow', tonumber(h[3] or now)
local next_at, urgent_at = tonumber(h[4] or now), tonumber(h[5] or now)
local epoch, level, cut, before = tonumber(h[6] or 1), tonumber(h[7] or base), tonumber(h[8] or 0), tonumber(h[9] or now)
if next_at > now + 10 * HORIZON or since > now + 10 * HORIZON then -- the server's clock was set back
  next_at, urgent_at, since, cut = now, now, now, 0
end

local given_until = math.max(next_at, now + 500)
if dropped > 0 then -- the timeline ends earlier, by as much as nobody else has slots in; AWS's bucket is empty
  local slot = 1000 / tonumber(h[10] or start)
  local own = math.min(1, math.max(0.2, dropped * slot / math.max(next_at - now, 1)))
  next_at = math.max(now + slot, next_at - dropped * slot * own)
end

-- The slots of the next seconds are given out already, so what is decided now holds from `line` on: phases are counted there.
-- Only a budget that calls wait for says something about AWS.
local line, deaf = math.max(next_at, now), tonumber(h[11] or 0)
if deaf > now + 10 * HORIZON then deaf = 0 end -- as above
local peak, stage = tonumber(h[12] or base), tonumber(h[13] or 1)
local waited = next_at > now - SLACK
local step = start / 4
local pause = share > 0.99 and HOLD * math.min(math.max(1, 5 / base), 6) or RARE -- a refusal weighs more where few calls are made
if mode == 'grow' then
  if waited then base = math.min(base + step * math.max(0, math.min(line - since, 2000)) / 1000, most) end
  since = line
elseif mode == 'cut' then
  if line - since >= CUT then mode, since = 'hold', line end
elseif not waited then
  mode, since = 'hold', line
elseif mode == 'hold' then
  if line - since >= pause and base < most then mode, since, level, stage = 'probe', line, math.min(math.max(base * 1.2, peak * 1.15), base * 1.4), 1 end
elseif line - since >= (stage > 1 and TRY_AGAIN or TRY) then
  before, base = since, math.min(level, most)
  level, since, stage = base * 1.5, line, 2
end

if throttled > 0 and sent_epoch == epoch and now >= deaf then
  local bucket = 0.75 -- it was not quite full
  if mode == 'grow' then -- it rose past the limit by `step` each second until a bucket's worth was too much
    local reached = base - step * (line - now) / 1000
    peak = reached > start and math.max(reached + step - math.sqrt(step * step + 2 * step * reached), reached / 2) or reached * 0.7
    base = peak * 0.95
  elseif mode == 'probe' and now > since then
    local tried = (now - since) / 1000
    local known = stage > 1 and 0.8 * base or base -- what was held for long before works; the bucket says little where few calls are made
    peak = math.max(level * tried / (tried + bucket), known)
    base = math.max(peak * 0.95, known)
  elseif mode == 'probe' and stage > 1 then -- the stage before is still under way
    local tried = math.max(now - before, 1) / 1000
    peak = math.max(base * tried / (tried + bucket), 0.7 * base)
    base = peak * 0.95
  else
    peak = base
    base = base * (now - cut < 5000 and 0.8 or 0.92)
  end
  base = math.max(base, 0.2)
  deaf = given_until + 300 -- what others hold was given out before and may still be refused: no news
  mode, since, cut, epoch = 'cut', line, now, epoch + 1
end

local full = mode == 'cut' and base / 2 or mode == 'probe' and level or base
local rate = (mode == 'hold' or mode == 'cut') and full * share or full
local n, first, wait = 0, 0, 0
local gap = 1000 / (emergency and full or rate)
if mode == 'cut' and not emergency then want = math.min(want, math.max(1, math.ceil((since + CUT - line) / gap))) end -- no slot behind the cut at its rate
if mode == 'probe' then want = math.min(want, 10) end -- bad news reaches a worker when it asks again
if want > 0 then
  local from = math.max(emergency and urgent_at or next_at, now)
  n = math.max(0, math.min(want, math.ceil((now + HORIZON - from) / gap)))
  first = from - now
  if n == 0 then wait = math.ceil(from - now - HORIZON) + 20 end
  if emergency then
    urgent_at = from + n * gap
    next_at = math.max(next_at, now) + n * gap -- the others make room
  else
    next_at = from + n * gap
  end
end
local function text(x) return string.format('%.3f', x) end
redis.call('HSET', KEYS[1], 'base', text(base), 'mode', mode, 'since', text(since), 'next', text(next_at), 'first', text(urgent_at),
  'epoch', string.format('%.0f', epoch), 'level', text(level), 'cut', text(cut), 'before', text(before), 'deaf', text(deaf), 'peak', text(peak), 'stage', stage, 'rate', text(rate), 'share', text(share))
if throttled > 0 then redis.call('HINCRBY', KEYS[1], 'throttled', throttled) end
redis.call('EXPIRE', KEYS[1], 3600)
-- A slot that nobody waited for may be kept for a while; one that others wait for is used at once or lapses.
return {epoch, n, math.floor(first * 1000), math.floor(gap * 1000), waited and 2000 or 5000, wait, math.floor(rate * 1000), math.floor(base * 1000)}
