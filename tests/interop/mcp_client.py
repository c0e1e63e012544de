"""An agent made with the Python MCP library (1.x or 2.x) through the gateway: list, call, be denied, go on.

usage: mcp_client.py URL [CMCP_VERIFY]      the gateway is in enforcing mode, with the quickstart's policy; with the path of
cmcp-verify the client spawns `cmcp-verify connect URL` instead of connecting itself
"""

import asyncio
import sys

import mcp

TOOL = "salesforce.contacts"
ARGUMENTS = {"query": "Acme Corp", "max_records": 2}


async def use(client):
    tools = await client.list_tools()
    assert [tool.name for tool in tools.tools] == [TOOL], tools
    first = await client.call_tool(TOOL, ARGUMENTS)
    assert not (first.isError if hasattr(first, "isError") else first.is_error), first
    meta = first.meta if isinstance(first.meta, dict) else dict(first.meta)
    receipt = meta["io.cmcp/receipt"]
    assert receipt["would_have_denied"] is False, receipt
    try:
        second = await client.call_tool(TOOL, ARGUMENTS)
        raise SystemExit(f"not denied: {second}")
    except Exception as error:
        details = getattr(error, "error", error)
        assert details.data["error_code"] == "POLICY_DENY", error
    tools = await client.list_tools()
    assert len(tools.tools) == 1, "the session lives on after a denial"
    print("session", receipt["session_id"], "call", receipt["call_id"])


async def legacy(url, bridge):
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamablehttp_client

    transport = stdio_client(bridge) if bridge else streamablehttp_client(url)
    async with transport as (read, write, *_), mcp.ClientSession(read, write) as session:
        await session.initialize()
        await use(session)


async def modern(url, bridge):
    async with mcp.Client(bridge or url) as client:
        await use(client)


url, *command = sys.argv[1:]
bridge = mcp.StdioServerParameters(command=command[0], args=["connect", url]) if command else None
asyncio.run((modern if hasattr(mcp, "Client") else legacy)(url, bridge))
