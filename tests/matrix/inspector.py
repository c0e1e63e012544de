"""An agent of the matrix: the command line of the MCP inspector, which is started anew for each step.

usage: inspector.py NODE_MODULES URL HEADERS PLAN      as client.py has it
"""

import json
import pathlib
import subprocess
import sys
import time

modules, url, headers, plan = sys.argv[1:]
plan, modules = json.loads(plan), pathlib.Path(modules)
INSPECTOR = [modules / "node/bin/node", modules / "@modelcontextprotocol/inspector/clients/launcher/build/index.js", "--cli", url]
HEADERS = [word for name, value in json.loads(headers).items() for word in ("--header", f"{name}: {value}")]


def start(*arguments):
    command = [*INSPECTOR, "--transport", "http", *arguments, *HEADERS]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)


def call(name, arguments):
    words = [f"{key}={value}" for key, value in arguments.items()]
    return start("--method", "tools/call", "--tool-name", name, *(["--tool-arg", *words] if words else []))


def answer(process):
    out, errors = process.communicate(timeout=20)
    if process.returncode:
        return None, (errors or out).strip()[-300:]
    return json.loads(out), None


def texts(result):
    return result and " ".join(item["text"] for item in result["content"])


def say(*value):
    print(json.dumps(value), flush=True)


def called(step):
    result, error = answer(call(*plan["call"]))
    say(step, texts(result), error)


tools, error = answer(start("--method", "tools/list"))
say("list", tools and " ".join(tool["name"] for tool in tools["tools"]), error)
started = time.monotonic()
called("call")
if "cancel" in plan:
    enough = (time.monotonic() - started) * 1.3 + 0.2  # to start, connect and call: as long as a whole call took, and more
    slow = call(*plan["cancel"])
    time.sleep(enough)
    slow.terminate()
    slow.wait()
    say("cancel", "cancelled")
called("call again")
say("restart")
sys.stdin.readline()
result, error = answer(call(*plan["call"]))
say("restarted", "connects for each command" if result else None, error)
