"""Starts the built gateway for the scripts that are not written in Rust: tests/bench/run, tests/python/run, tests/interop/run,
tests/conformance/run."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

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
    """A tool server process that takes its address as last argument."""

    def __init__(self, *command):
        self.port = free_port()
        self.process = subprocess.Popen([*command, f"127.0.0.1:{self.port}"], stdout=subprocess.DEVNULL)
        wait_port(self.port)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Gateway:
    """`host --dev-enclave` on the quickstart's documents or others and more policies, in a folder of its own under target/."""

    def __init__(self, tool_port, durability="strict", mode="advisory", documents=QUICKSTART, catalog=None, policies="", **tool):
        (ROOT / "target").mkdir(exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gateway-", dir=ROOT / "target"))
        shutil.copytree(documents / "policies", self.folder / "policies")
        if policies:
            (self.folder / "policies/more.cedar").write_text(policies)
        catalog = catalog or json.loads((documents / "catalog.json").read_text())
        for entry in catalog:
            entry.update(tool)
            entry["server"]["url"] = f"http://127.0.0.1:{tool_port}/mcp"
        (self.folder / "catalog.json").write_text(json.dumps(catalog))
        config = {
            "attestation": {"provider": "auto", "enforcement_mode": mode},
            "policy_bundle_path": "./policies/",
            "catalog_path": "./catalog.json",
            "audit": {"store_path": "./audit-store", "durability": durability},
        }
        (self.folder / "cmcp-config.yaml").write_text(json.dumps(config))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.folder / "log"
        self.metrics = free_port()
        command = ["--dev-enclave", "--config", self.folder / "cmcp-config.yaml", "--listen", f"127.0.0.1:{self.port}"]
        command += ["--metrics", f"127.0.0.1:{self.metrics}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([BIN / "host", *command], stdout=log, stderr=log)
        self.wait_ready()
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pids = {"host": self.process.pid, "enclave": int(children[0])}

    def wait_ready(self):
        for _ in range(500):
            try:
                return self.get("/readyz")
            except OSError:
                time.sleep(0.02)
        sys.exit(f"the gateway does not start:\n{self.log.read_text()}")

    def get(self, path):
        return urllib.request.urlopen(self.url + path, timeout=60).read()

    def post(self, path, body):
        headers = {"Content-Type": "application/json"}
        return urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers), timeout=60).read()

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

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)
