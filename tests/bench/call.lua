-- One tools/call of about 300 bytes per request, spread over 64 sessions.
-- Arguments: the shape (bare, closing, modern, legacy), and for legacy the 64 MCP sessions.
local bodies = {}
local next = 0
local pad = string.rep("x", 90)
local both = "application/json, text/event-stream"

local shapes = {
  bare = function(n)
    return {}, string.format('"_cmcp":{"session_id":"bench-%d","workflow_id":"demo-agent"}', n)
  end,
  -- One connection for each request.
  closing = function(n)
    return { ["Connection"] = "close" }, string.format('"_cmcp":{"session_id":"bench-%d","workflow_id":"demo-agent"}', n)
  end,
  modern = function(n)
    return {
      ["Accept"] = both, ["MCP-Protocol-Version"] = "2026-07-28", ["Mcp-Method"] = "tools/call", ["Mcp-Name"] = "echo",
    }, string.format(
      '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.cmcp/session_id":"bench-%d"}', n)
  end,
  legacy = function(n, session)
    return { ["Accept"] = both, ["MCP-Protocol-Version"] = "2025-11-25", ["Mcp-Session-Id"] = session }, '"_meta":{}'
  end,
}

function init(args)
  for n = 1, 64 do
    local headers, rest = shapes[args[1]](n, args[n + 1])
    headers["Content-Type"] = "application/json"
    local body = string.format(
      '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"query":"Acme Corp %s","max_records":10},%s}}',
      n, pad, rest)
    bodies[n] = wrk.format("POST", "/mcp", headers, body)
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
