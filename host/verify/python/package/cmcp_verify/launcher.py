"""The commands ``cmcp`` and ``cmcp-verify``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cmcp_verify import __version__, _native

HELP = """usage: cmcp start [--config FILE] [host options]     run the gateway: host --config FILE
       cmcp check --config FILE                      check the configuration and print its hashes: host check
       cmcp verify CLAIM [options]                   check a claim; cmcp verify --help
       cmcp --version

The gateway's programs are looked for in CMCP_HOST (path of host), then on PATH: a `host` with an `enclave` beside it.
CMCP_DEV_MODE=1 runs without a trusted execution environment; claims say so.
"""

_NO_HOST = """cmcp: the gateway's programs were not found

This package has the verifier and this launcher. Build the gateway with `cargo build --release`, then
  CMCP_HOST=target/release/host cmcp start --config cmcp-config.yaml
or put target/release on PATH.
"""


def main() -> int:
    """``cmcp``"""
    command, *rest = sys.argv[1:] or ["--help"]
    match command:
        case "start":
            return _run_host(rest)
        case "check" | "validate-config":
            return _run_host(["check", *rest])
        case "verify":
            return _native.cli(["cmcp verify", *rest])
        case "--version" | "-V":
            print(f"cmcp {__version__}")
            return 0
        case "--help" | "-h" | "help":
            print(HELP, end="")
            return 0
        case _:
            print(HELP, end="", file=sys.stderr)
            return 64


def verify() -> int:
    """``cmcp-verify``"""
    return _native.cli(["cmcp-verify", *sys.argv[1:]])


def _run_host(args: list[str]) -> int:
    """Becomes the host process, so that signals reach it. Returns only if there is none."""
    host = _host()
    if host is None:
        print(_NO_HOST, end="", file=sys.stderr)
        return 127
    sys.stdout.flush()
    os.execv(host, [str(host), *args])


def _host() -> Path | None:
    named = os.environ.get("CMCP_HOST")
    if named:
        return Path(named) if _is_program(Path(named)) else None
    # A DNS tool is called `host` too; ours has the enclave beside it.
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    found = (folder for folder in folders if _is_program(folder / "host") and _is_program(folder / "enclave"))
    folder = next(found, None)
    return folder / "host" if folder else None


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
