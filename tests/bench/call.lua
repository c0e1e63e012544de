-- One tools/call of about 300 bytes per request, spread over 64 sessions.
local bodies = {}
local next = 0
local pad = string.rep("x", 90)

function init(args)
  for n = 1, 64 do
    local body = string.format(
      '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"query":"Acme Corp %s","max_records":10},"_cmcp":{"session_id":"bench-%d","workflow_id":"demo-agent"}}}',
      n, pad, n)
    bodies[n] = wrk.format("POST", "/mcp", { ["Content-Type"] = "application/json" }, body)
  end
end

function request()
  next = next % 64 + 1
  return bodies[next]
end

local failed = 0
function response(status)
  if status ~= 200 then failed = failed + 1 end
end

function done(summary, latency)
  io.write(string.format("bench requests=%d us=%d p50=%d p99=%d errors=%d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
