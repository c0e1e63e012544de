"""An agent of the matrix, made with a client library of PyPI.

usage: client.py mcp1|mcp2|langchain|fastmcp|openai-agents URL HEADERS PLAN      HEADERS is a JSON object; so is PLAN, with a tool and
its arguments for each of call, progress, elicitation, cancel that is to be tried

Prints a line of JSON for each step: its name, and what came of it or what went wrong. After the line `restart` it waits for a line,
until the gateway is another one.
"""

import asyncio
import contextlib
import json
import logging
import sys

TIMEOUT_SECONDS = 8
ANSWER = {"username": "ada", "email": "ada@example.com"}
PLAN = json.loads(sys.argv[4])


def text(result):
    return " ".join(item.text for item in result.content)


class Mcp1:
    """`mcp` 1.x: a transport, and a session over it."""

    def __init__(self, url, headers):
        self.url, self.headers, self.stack = url, headers, None

    async def open(self):
        from mcp import ClientSession, types
        from mcp.client.streamable_http import streamablehttp_client

        async def elicit(_context, _params):
            return types.ElicitResult(action="accept", content=ANSWER)

        self.stack = contextlib.AsyncExitStack()
        read, write, _ = await self.stack.enter_async_context(streamablehttp_client(self.url, self.headers))
        self.session = await self.stack.enter_async_context(ClientSession(read, write, elicitation_callback=elicit))
        await self.session.initialize()

    async def list(self):
        return [tool.name for tool in (await self.session.list_tools()).tools]

    async def call(self, name, arguments, progress=None):
        return text(await self.session.call_tool(name, arguments, progress_callback=progress))

    async def close(self):
        await self.stack.aclose()


class Mcp2(Mcp1):
    """`mcp` 2.x: one client for both eras."""

    async def open(self):
        import mcp
        from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

        async def elicit(_context, _params):
            return mcp.types.ElicitResult(action="accept", content=ANSWER)

        self.stack = contextlib.AsyncExitStack()
        transport = streamable_http_client(self.url, http_client=create_mcp_http_client(headers=self.headers))
        self.session = await self.stack.enter_async_context(mcp.Client(transport, elicitation_callback=elicit))


class FastMcp(Mcp1):
    async def open(self):
        from fastmcp import Client
        from fastmcp.client.transports import StreamableHttpTransport

        async def elicit(_message, _type, _params, _context):
            return ANSWER

        self.stack = contextlib.AsyncExitStack()
        client = Client(StreamableHttpTransport(self.url, headers=self.headers), elicitation_handler=elicit)
        self.session = await self.stack.enter_async_context(client)

    async def list(self):
        return [tool.name for tool in await self.session.list_tools()]

    async def call(self, name, arguments, progress=None):
        return text(await self.session.call_tool(name, arguments, progress_handler=progress))


class OpenAiAgents(Mcp1):
    """An agent's tool server. It has no way to be asked, and none to hear of progress."""

    async def open(self):
        from agents.mcp import MCPServerStreamableHttp

        self.server = MCPServerStreamableHttp({"url": self.url, "headers": self.headers}, cache_tools_list=False)
        await self.server.connect()

    async def list(self):
        return [tool.name for tool in await self.server.list_tools()]

    async def call(self, name, arguments, progress=None):
        return text(await self.server.call_tool(name, arguments))

    async def close(self):
        await self.server.cleanup()


class LangChain(Mcp1):
    """Tools of an agent; each call opens a session of its own."""

    async def open(self):
        from langchain_mcp_adapters.callbacks import Callbacks
        from langchain_mcp_adapters.client import MultiServerMCPClient
        from mcp import types

        self.progress = None

        async def elicit(_mcp, _params, _context):
            return types.ElicitResult(action="accept", content=ANSWER)

        async def progress(*heard):
            await self.progress(*heard[:-1])

        connection = {"transport": "streamable_http", "url": self.url, "headers": self.headers}
        client = MultiServerMCPClient({"gateway": connection}, callbacks=Callbacks(on_progress=progress, on_elicitation=elicit))
        self.tools = {tool.name: tool for tool in await client.get_tools()}

    async def list(self):
        return list(self.tools)

    async def call(self, name, arguments, progress=None):
        self.progress = progress
        return " ".join(item["text"] for item in await self.tools[name].ainvoke(arguments))

    async def close(self):
        pass


CLIENTS = {"mcp1": Mcp1, "mcp2": Mcp2, "langchain": LangChain, "fastmcp": FastMcp, "openai-agents": OpenAiAgents}


def call(client):
    return client.call(*PLAN["call"])


async def tools(client):
    return " ".join(await client.list())


async def progress(client):
    heard = []

    async def hear(progress, *_):
        heard.append(progress)

    await client.call(*PLAN["progress"], hear)
    return " ".join(f"{value:g}" for value in heard)


def elicitation(client):
    return client.call(*PLAN["elicitation"])


async def cancel(client):
    """As a program stops to wait."""
    try:
        return await asyncio.wait_for(client.call(*PLAN["cancel"]), 1)
    except asyncio.TimeoutError:
        return "cancelled"


STEPS = {"list": tools, "call": call, "progress": progress, "elicitation": elicitation, "cancel": cancel, "call again": call}


def say(*value):
    print(json.dumps(value), flush=True)


async def attempt(step, client):
    """The result and None, or None and the error. Cancellation from within a library is an error too."""
    task = asyncio.ensure_future(asyncio.wait_for(step(client), TIMEOUT_SECONDS))
    await asyncio.wait([task])
    if task.cancelled():
        return None, "CancelledError"
    error = task.exception()
    return (None, f"{type(error).__name__}: {error}") if error else (task.result(), None)


async def main():
    client = CLIENTS[sys.argv[1]](sys.argv[2], json.loads(sys.argv[3]))
    await client.open()
    for name, step in [(name, step) for name, step in STEPS.items() if name in PLAN or name in ("list", "call again")]:
        say(name, *await attempt(step, client))
    say("restart")
    await asyncio.to_thread(sys.stdin.readline)
    errors = []
    for how in ["by itself", "after an error", "connected again"]:
        result, error = await attempt(call, client)
        if result:
            return say("restarted", how, "; ".join(errors))
        errors.append(error)
        if how == "after an error":
            with contextlib.suppress(BaseException):
                await client.close()
            await client.open()
        await asyncio.sleep(0.1)
    say("restarted", None, "; ".join(errors))


logging.disable(logging.CRITICAL)
with contextlib.suppress(BaseException):
    asyncio.run(main())
