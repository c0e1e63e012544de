"""The same agents under a policy that forbids everything: each call is denied and recorded once, and none reaches the tool server."""

import json
import urllib.error
from collections import Counter

from gateway import Gateway, send
from recorder import Recorder

FORBID = "forbid (principal, action, resource);"

# What would have reached the tool server.
CALLS = [
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
]
# Denials, which the audit chain holds as such.
DENIED = {"POLICY_DENY", "TOOL_NOT_IN_CATALOG"}
# Refusals of what is not a call: the suite also sends requests that no server may take.
NO_CALL = {"MCP_INVALID_PARAMS", "MCP_HEADER_MISMATCH", "MCP_UNSUPPORTED_VERSION", "MCP_METHOD_NOT_FOUND"}

# The session of agents that have no MCP session.
SESSION = "forbidden"


def outside_mcp_sessions(exchange):
    named = any(name.lower() == "mcp-session-id" for name in exchange.headers)
    return {} if named else {"X-Cmcp-Session": SESSION}


def bare_calls(url, tools):
    """Calls in the quickstart's shape, of every tool."""
    for tool in tools:
        try:
            send(url, {"id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}})
        except urllib.error.HTTPError as error:
            assert (error.code, json.load(error)["error"]["data"]["error_code"]) == (403, "POLICY_DENY"), error


def answer_code(exchange):
    """`data.error_code` of the answer; RESULT if it has none."""
    error = exchange.response.get("error") or {}
    data = error.get("data") or {}
    return data.get("error_code", "RESULT" if "result" in exchange.response else f"HTTP {exchange.status}")


def entries(gateway, session):
    """The entries of a session that end a call."""
    bundle = json.loads(gateway.get(f"/audit/export?session_id={session}"))
    return [entry for entry in bundle["entries"] if entry["entry_type"] in ("tool_call", "fault")]


def run(tools, documents, catalog, agents):
    """Runs the agents, functions of a URL: how many calls were denied. Fails when one was answered otherwise, reached the server, or
    is not in the audit chain exactly once."""
    server = Recorder(tools.port)
    gateway = Gateway(server.port, mode="enforcing", documents=documents, catalog=catalog, policies=FORBID)
    front = Recorder(gateway.port, outside_mcp_sessions)
    try:
        for agent in agents:
            agent(front.url)
        bare_calls(front.url, [entry["tool_name"] for entry in catalog])
        return check(gateway, front, server)
    finally:
        for process in [front, gateway, server]:
            process.stop()


def check(gateway, front, server):
    asked = [exchange for exchange in front.exchanges if "id" in exchange.request and exchange.request.get("method") in CALLS]
    for exchange in asked:
        assert exchange.over.wait(10), f"no answer to {exchange.request}"
    codes = Counter(answer_code(exchange) for exchange in asked)
    assert set(codes) <= DENIED | NO_CALL, f"answers to calls: {codes}"
    reached = Counter(exchange.request.get("method") for exchange in server.exchanges)
    assert not set(reached) & set(CALLS), f"reached the tool server: {reached}"
    sessions = {exchange.answer_headers.get("mcp-session-id") for exchange in front.exchanges} - {None}
    ended = [entry for session in [SESSION, *sessions] for entry in entries(gateway, session)]
    decisions = Counter(entry["policy_decision"] for entry in ended)
    denied = sum(codes[code] for code in DENIED)
    listened = sum(len(subscriptions(exchange)) for exchange in front.exchanges)
    assert decisions == {"deny": denied + listened}, f"{decisions}, of {denied} calls and {listened} subscriptions that were denied"
    assert len({entry["call_id"] for entry in ended}) == len(ended)
    return denied


def subscriptions(exchange):
    """The resources of a `subscriptions/listen`, each of which is decided for itself."""
    if exchange.request.get("method") != "subscriptions/listen" or exchange.status != 200:
        return []
    return exchange.request["params"].get("notifications", {}).get("resourceSubscriptions", [])
