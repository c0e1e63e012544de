"""Starts the built gateway for the scripts that are not written in Rust: tests/bench/run, tests/python/run, tests/interop/run,
tests/interop/tls, tests/conformance/run, tests/matrix/run. Approves of tools as their servers list them."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from ca import Ca

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("GATEWAY_BIN_DIR", ROOT / "target/release"))
QUICKSTART = ROOT / "policies/quickstart"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port):
    for _ in range(500):
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
    sys.exit(f"nothing listens on port {port}")


class ToolServer:
    """A tool server process that takes its address as last argument, or its port from the environment."""

    def __init__(self, *command, port_variable=None):
        self.port = free_port()
        own = {"env": {**os.environ, port_variable: str(self.port)}, "stderr": subprocess.DEVNULL} if port_variable else {}
        command = command if port_variable else [*command, f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **own)
        wait_port(self.port)

    def stop(self):
        self.process.terminate()
        self.process.wait()


# How a definition in the catalog names what `tools/list` says. The rest of a listed tool is not for a catalog.
DEFINITION = {
    "title": "title",
    "description": "description",
    "inputSchema": "input_schema",
    "outputSchema": "output_schema",
    "annotations": "annotations",
}


def catalog_entry(tool, server="Server", capabilities=()):
    """Approves of a tool as its server lists it."""
    definition = {DEFINITION[key]: value for key, value in tool.items() if key in DEFINITION}
    definition.setdefault("description", "")
    written = json.dumps(definition, sort_keys=True, separators=(",", ":"))
    return {
        "tool_name": tool["name"],
        "server": {"display_name": server, "transport": "streamable-http", "capabilities": list(capabilities)},
        "approved_definition": definition,
        "definition_hash": "sha256:" + hashlib.sha256(written.encode()).hexdigest(),
        "compliance_domain": "public",
        "sensitivity_level": "public",
        "added_at": "2026-11-22T00:00:00Z",
        "approved_by": "developer@example.com",
    }


PROTOCOL = "io.modelcontextprotocol/"
CLIENT = {"name": "tests", "version": "1"}
# Some servers have more tools for clients that can be asked.
CAN = {"sampling": {}, "elicitation": {}, "roots": {}}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": CAN, "clientInfo": CLIENT}


def send(url, message, **headers):
    """Posts a JSON-RPC message as a client of MCP; the session that the answer names, and the answer."""
    accept = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    request = urllib.request.Request(url, json.dumps({"jsonrpc": "2.0", **message}).encode(), {**accept, **headers})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text, events = answer.read().decode(), answer.headers["Content-Type"] == "text/event-stream"
        if events:
            text = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")][-1]
        return answer.headers["Mcp-Session-Id"], json.loads(text or "null")


def list_tools(url, modern=False):
    """The tools of a server, as it lists them to whom is to approve of them."""
    if modern:
        meta = {"protocolVersion": "2026-07-28", "clientCapabilities": {}, "clientInfo": CLIENT}
        meta = {PROTOCOL + key: value for key, value in meta.items()}
        headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
        for _ in range(2):  # one of the suite's servers refuses each client's first message
            try:
                return send(url, {"id": 1, "method": "tools/list", "params": {"_meta": meta}}, **headers)[1]["result"]["tools"]
            except urllib.error.HTTPError:
                pass
        sys.exit(f"{url} lists no tools")
    session, _ = send(url, {"id": 1, "method": "initialize", "params": HELLO})
    headers = {"MCP-Protocol-Version": "2025-11-25", **({"Mcp-Session-Id": session} if session else {})}
    send(url, {"method": "notifications/initialized"}, **headers)
    return send(url, {"id": 2, "method": "tools/list"}, **headers)[1]["result"]["tools"]


def list_tools_of(command, environment=()):
    """The tools of a server over stdio, which sees these variables of the environment."""
    own = {name: os.environ[name] for name in environment if name in os.environ}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "env": own, "text": True}
    with subprocess.Popen(command, **pipes) as server:
        try:
            for message in [
                {"id": 1, "method": "initialize", "params": HELLO},
                {"method": "notifications/initialized"},
                {"id": 2, "method": "tools/list"},
            ]:
                server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
                server.stdin.flush()
                while "id" in message and (answer := json.loads(server.stdout.readline())).get("id") != message["id"]:
                    pass
            return answer["result"]["tools"]
        finally:
            server.kill()


def write_setup(tools, durability="strict", mode="advisory", documents=QUICKSTART, catalog=None, policies="", prepare=None, auditor_key=None, **tool):
    """Writes configuration, catalog and policies into a new folder under target/. The tool servers are all at `tools`, a port or a
    URL, or where their entries say; `tool` is set in every entry. Records are sealed to `auditor_key`, if there is one. `prepare` gets the
    folder at the end."""
    (ROOT / "target").mkdir(exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gateway-", dir=ROOT / "target"))
    shutil.copytree(documents / "policies", folder / "policies")
    if policies:
        (folder / "policies/more.cedar").write_text(policies)
    catalog = catalog or json.loads((documents / "catalog.json").read_text())
    for entry in catalog:
        entry.update(tool)
        if tools is not None:
            entry["server"]["url"] = tools if isinstance(tools, str) else f"http://127.0.0.1:{tools}/mcp"
    (folder / "catalog.json").write_text(json.dumps(catalog))
    config = {
        "attestation": {"provider": "auto", "enforcement_mode": mode},
        "policy_bundle_path": "./policies/",
        "catalog_path": "./catalog.json",
        "audit": {"store_path": "./audit-store", "durability": durability},
    }
    if auditor_key:
        config["audit"]["auditor_key"] = auditor_key
    (folder / "cmcp-config.yaml").write_text(json.dumps(config))
    if prepare:
        prepare(folder)
    return folder


def new_auditor(file):
    """Makes an auditor's key; what the configuration names."""
    command = [BIN / "cmcp-verify", "auditor", "new-key", "--out", file]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return said.removeprefix("audit.auditor_key: ").strip()


OPERATOR = "operator-" + "0" * 32


class Gateway:
    """`host --dev-enclave` on the quickstart's documents or others: see `write_setup`. With `tls` it has a certificate for localhost of
    a CA, whose certificate is the file `ca.certificate`."""

    def __init__(self, tools, tls=False, **setup):
        self.folder = write_setup(tools, **setup)
        self.port = free_port()
        self.ca = Ca(self.folder) if tls else None
        self.url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"
        if tls:
            file = self.folder / "cmcp-config.yaml"
            operator = {"token_sha256": "sha256:" + hashlib.sha256(OPERATOR.encode()).hexdigest()}
            file.write_text(json.dumps({**json.loads(file.read_text()), "tls": {"public_name": "localhost"}, "operator": operator}))
        self.context = None
        self.log = self.folder / "log"
        self.metrics = free_port()
        self.token = None
        self.start()

    def start(self):
        command = ["--dev-enclave", "--config", self.folder / "cmcp-config.yaml", "--listen", f"127.0.0.1:{self.port}"]
        command += ["--metrics", f"127.0.0.1:{self.metrics}"]
        if self.ca:
            command.append("--tls")
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([BIN / "host", *command], stdout=log, stderr=log)
        self.wait_ready()
        if self.ca:
            self.certify()
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pids = {"host": self.process.pid, "enclave": int(children[0])}

    def certify(self):
        """Has the key of this boot certified, and trusts the CA alone from then on."""
        operator = {"Authorization": f"Bearer {OPERATOR}"}
        request = self.open("/tls/csr", headers=operator)
        self.open("/tls/chain", self.ca.sign(request), operator, "PUT")
        self.context = ssl.create_default_context(cafile=self.ca.certificate)

    def wait_ready(self):
        for _ in range(500):
            try:
                return self.get("/readyz")
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        sys.exit(f"the gateway does not start:\n{self.log.read_text()}")

    def authorization(self):
        """Who asks: the holder of `token`, if it is set."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def open(self, path, body=None, headers=None, method=None):
        request = urllib.request.Request(self.url + path, body, headers or {}, method=method)
        return urllib.request.urlopen(request, timeout=60, context=self.context).read()

    def get(self, path):
        return self.open(path, headers=self.authorization())

    def post(self, path, body):
        return self.open(path, body, {"Content-Type": "application/json", **self.authorization()})

    def call(self, session, tool="salesforce.contacts"):
        params = {
            "name": tool,
            "arguments": {"query": "Acme Corp", "max_records": 10},
            "_cmcp": {"session_id": session, "workflow_id": "demo-agent"},
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        return json.loads(self.post("/mcp", json.dumps(body).encode()))

    def logged_hash(self, label):
        return re.search(label + r".*(sha256:[0-9a-f]{64})", self.log.read_text()).group(1)

    def save(self, name, path):
        """Writes an answer to a file beside the configuration."""
        file = self.folder / name
        file.write_bytes(self.get(path))
        return file

    def restart(self):
        """Kills the gateway and starts it again: the same address and records, another boot."""
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)
