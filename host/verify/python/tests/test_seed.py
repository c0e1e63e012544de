#!/usr/bin/env python3
"""Runs the quickstart's verify.py against the installed cmcp_verify, and checks that the module is the deployed one's twin.

Run it with a Python that has the wheel: VENV/bin/python host/verify/python/tests/test_seed.py
"""

import contextlib
import dataclasses
import inspect
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from datetime import datetime
from pathlib import Path
from unittest import mock

import cmcp_verify
from cmcp_verify import (
    ApprovedHashes,
    AuditBundleResult,
    VerificationError,
    VerificationResult,
    VerificationStatus,
    verify_audit_bundle,
    verify_trace_claim,
    verify_trust_record,
)

PEER = Path(__file__).resolve().parents[2] / "tests" / "peer"
POLICY = "sha256:902eea1e0251bb1f77b72fe6cc753c541796ebb433fbd49081c678e6b8af7e0f"
CATALOG = "sha256:81a318ae06ae4b0c0e36dcf0831fb1ae7238b1f3d03a54f85cdcd839fd5866a2"
APPROVED = ApprovedHashes(policy_bundle_hash=POLICY, tool_catalog_hash=CATALOG)
SIX = ["schema", "signature", "policy_bundle.hash", "tool_catalog.hash", "attestation_freshness", "audit_chain"]
REFERENCES = {
    "version": 1,
    "images": [{"type": "sev-snp", "measurement": "sha384:" + 96 * "0"}],
    "config_hashes": ["sha256:" + 64 * "0"],
    "bundle_hashes": [POLICY],
    "catalog_hashes": [CATALOG],
}
# Twelve seconds after the recorded claim's attestation.
NOW_NS = int(datetime.fromisoformat("2026-11-22T06:54:13.500000+00:00").timestamp() * 1e9)

SCRIPT = """\
# verify.py
import json
from cmcp_verify import verify_trace_claim, ApprovedHashes
with open("claim.json") as f:
    claim = json.load(f)
approved = ApprovedHashes(
    policy_bundle_hash="sha256:<bundle_hash from startup log>",
    tool_catalog_hash="sha256:<catalog_hash from startup log>",
)
result = verify_trace_claim(claim, approved)
print(f"Status: {result.status.value}")
print(f"Verified fields: {result.verified_fields}")
print(f"Attestation age: {result.attestation_age_seconds}s")
if result.details:
    print(f"Details: {result.details}")
"""

EXPECTED = """\
Status: partially_verified
Verified fields: ['schema', 'signature', 'policy_bundle.hash', 'tool_catalog.hash', 'attestation_freshness', 'audit_chain']
Attestation age: 12s
Details: {'hardware_attestation': 'software-only mode - not hardware-backed'}
"""


def recorded(name):
    return (PEER / name).read_bytes()


def judge(claim, approved=APPROVED, **options):
    with mock.patch("time.time_ns", return_value=NOW_NS):
        return verify_trace_claim(claim, approved, **options)


class Seed(unittest.TestCase):
    def test_verify_py_prints_what_the_quickstart_shows(self):
        script = SCRIPT.replace("sha256:<bundle_hash from startup log>", POLICY)
        script = script.replace("sha256:<catalog_hash from startup log>", CATALOG)
        said = io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(said):
            Path("claim.json").write_bytes(recorded("claim_dev.json"))
            with mock.patch("time.time_ns", return_value=NOW_NS):
                exec(compile(script, "verify.py", "exec"), {"__name__": "__main__"})
        self.assertEqual(said.getvalue(), EXPECTED)


class Claims(unittest.TestCase):
    def test_bytes_text_and_parsed_are_judged_alike(self):
        claim = recorded("claim_dev.json")
        results = [judge(form) for form in (claim, bytearray(claim), claim.decode(), json.loads(claim))]
        self.assertTrue(all(result == results[0] for result in results))
        self.assertEqual(results[0].status, VerificationStatus.PARTIALLY_VERIFIED)
        self.assertEqual(results[0].verified_fields, SIX)
        self.assertEqual(results[0].unverified_fields, ["hardware_attestation"])
        self.assertIsNone(results[0].failure_reason)
        self.assertTrue(results[0].is_attestation_fresh)

    def test_every_changed_value_is_unverified_by_name(self):
        claim = json.loads(recorded("claim_dev.json"))

        def changed(value):
            if isinstance(value, dict):
                for key in value:
                    yield {k: v for k, v in value.items() if k != key}
                    yield from ({**value, key: other} for other in changed(value[key]))
            elif isinstance(value, list):
                yield [*value, "x"]
                for index, item in enumerate(value):
                    yield from ([*value[:index], other, *value[index + 1 :]] for other in changed(item))
            elif isinstance(value, bool):
                yield not value
            elif isinstance(value, int):
                yield value + 1
            else:
                yield value + "x"

        count = 0
        for other in changed(claim):
            result = judge(other)
            self.assertEqual(result.status, VerificationStatus.UNVERIFIED, other)
            self.assertIsInstance(result.failure_reason, VerificationError)
            count += 1
        self.assertGreater(count, 100)

    def test_named_failures(self):
        claim = recorded("claim_dev.json")
        twice = claim.replace(b'"cmcp_version"', b'"cmcp_version": "1.0", "cmcp_version"', 1)
        zeros = "sha256:" + "0" * 64
        for form, options, reason in [
            (twice, {}, "DUPLICATE_KEY"),
            (b"{", {}, "CLAIM_MALFORMED"),
            ("\ud800", {}, "CLAIM_MALFORMED"),
            ([], {}, "CLAIM_MALFORMED"),
            (None, {}, "NULL_NOT_ALLOWED"),
            ({"trace": object()}, {}, "CLAIM_MALFORMED"),
            ({"trace": float("nan")}, {}, "CLAIM_MALFORMED"),
            (claim, {"approved": ApprovedHashes(zeros, CATALOG)}, "POLICY_HASH_MISMATCH"),
            (claim, {"approved": ApprovedHashes(POLICY, zeros)}, "CATALOG_HASH_MISMATCH"),
            (claim, {"max_attestation_age_seconds": 11}, "ATTESTATION_STALE"),
            (claim, {"trusted_public_key_hex": "00" * 32}, "PUBLIC_KEY_NOT_BOUND"),
            (claim, {"profile": "trace-v0.1"}, "PROFILE_NOT_ACCEPTED"),
            (claim, {"agent_manifest": {}}, "AGENT_MANIFEST_MISMATCH"),
            (claim, {"expected_gateway_measurement": "00"}, "MEASUREMENT_NOT_BOUND"),
            (claim, {"snp_platform_policy": object()}, "HARDWARE_ATTESTATION_FAILED"),
        ]:
            result = judge(form, **options)
            self.assertEqual(result.failure_reason, reason)
            self.assertEqual(result.status, "unverified")
        with self.assertRaises(ValueError):
            judge(claim, profile="both")

    def test_a_hash_that_was_not_approved_stays_unverified(self):
        result = judge(recorded("claim_dev.json"), ApprovedHashes(POLICY, None))
        self.assertEqual(result.status, VerificationStatus.PARTIALLY_VERIFIED)
        self.assertIn("tool_catalog.hash", result.unverified_fields)

    def test_hardware_claims_name_what_is_missing(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            environment = {k: v for k, v in os.environ.items() if k != "CMCP_REFERENCE_VALUES"}
            with mock.patch.dict(os.environ, environment, clear=True):
                result = judge(recorded("synthetic_claim_snp.json"))
                self.assertIn("CMCP_REFERENCE_VALUES is not set", result.details["reference_values"])
                Path("reference-values.json").write_text("{}")
                result = judge(recorded("synthetic_claim_snp.json"))
                self.assertIn("no reference values", result.details["reference_values"])
                Path("reference-values.json").write_text(json.dumps(REFERENCES))
                result = judge(recorded("synthetic_claim_snp.json"))
                self.assertNotIn("reference_values", result.details)
        self.assertEqual(result.status, VerificationStatus.UNVERIFIED)
        self.assertIn("snp.policy", result.details["hardware_attestation"])
        self.assertEqual([result.details[name] for name in ("genuine", "ours")], ["no", "no"])
        self.assertNotIn("reference_values", judge(recorded("claim_dev.json")).details)


    def test_an_attachment_is_read_strictly(self):
        for attachment in [b"{}", "{}", {}]:
            result = judge(recorded("synthetic_claim_snp.json"), attachment=attachment)
            self.assertIn("version", result.details["attachment"])
        self.assertIn("ATTACHMENT_MALFORMED", VerificationError.__members__)
        self.assertIn("CONFIG_NOT_APPROVED", VerificationError.__members__)


class Bundles(unittest.TestCase):
    def test_a_bundle_and_its_claim(self):
        bundle, claim = recorded("audit_dev.json"), recorded("claim_dev.json")
        for forms in [(bundle, claim), (json.loads(bundle), json.loads(claim)), (bundle.decode(), claim.decode())]:
            self.assertEqual(verify_audit_bundle(*forms), AuditBundleResult(True, 4, [], "final"))
        self.assertTrue(verify_audit_bundle(bundle).verified)
        self.assertTrue(verify_audit_bundle(bundle, claim, external_evidence_keys={}).verified)

    def test_a_changed_entry(self):
        bundle = json.loads(recorded("audit_dev.json"))
        bundle["entries"][1]["tool_name"] += "x"
        result = verify_audit_bundle(bundle, recorded("claim_dev.json"))
        self.assertFalse(result.verified)
        self.assertIn("entry 1: ENTRY_HASH_MISMATCH", result.failures[0])

    def test_no_bundle(self):
        for form in (None, [], "", {}, {"entries": []}):
            result = verify_audit_bundle(form)
            self.assertFalse(result.verified)
            self.assertTrue(result.failures)

    def test_a_record_that_is_none(self):
        result = verify_trust_record(b"{}", recorded("claim_dev.json"))
        self.assertEqual((result.status, result.failure_reason), (VerificationStatus.UNVERIFIED, "RECORD_MALFORMED"))


class Interface(unittest.TestCase):
    """Names, order and defaults of cmcp_verify 0.7.1; ours may add, never take away."""

    def test_functions(self):
        self.assertEqual(
            list(inspect.signature(verify_trace_claim).parameters)[:12],
            ["claim_json", "approved", "max_attestation_age_seconds", "trusted_public_key_hex", "agent_manifest",
             "trusted_agent_manifest_keys", "trusted_ark_pem", "trusted_intel_root_pem", "trusted_tpm_ca_pem",
             "expected_gateway_measurement", "snp_platform_policy", "expected_launch_measurements"],
        )  # fmt: skip
        self.assertEqual(inspect.signature(verify_trace_claim).parameters["max_attestation_age_seconds"].default, 86400)
        parameters = list(inspect.signature(verify_audit_bundle).parameters)
        self.assertEqual(parameters[:3], ["bundle_json", "claim_json", "external_evidence_keys"])
        self.assertIs(verify_audit_bundle, cmcp_verify.verify.verify_audit_bundle)

    def test_results(self):
        def names(kind):
            return [field.name for field in dataclasses.fields(kind)]

        self.assertEqual(names(ApprovedHashes), ["policy_bundle_hash", "tool_catalog_hash"])
        self.assertEqual(
            names(VerificationResult),
            ["status", "verified_fields", "unverified_fields", "failure_reason", "attestation_age_seconds",
             "is_attestation_fresh", "details"],
        )  # fmt: skip
        self.assertEqual(names(AuditBundleResult)[:3], ["verified", "entry_count", "failures"])

    def test_enums(self):
        self.assertEqual({s.value for s in VerificationStatus}, {"verified", "unverified", "partially_verified"})
        deployed = {
            "UNSUPPORTED_PROVIDER", "SIGNATURE_INVALID", "PUBLIC_KEY_NOT_BOUND", "POLICY_HASH_MISMATCH",
            "CATALOG_HASH_MISMATCH", "ATTESTATION_STALE", "CHAIN_BROKEN", "CHAIN_ROOT_NOT_BOUND",
            "MEASUREMENT_NOT_BOUND", "CLAIM_MALFORMED", "HARDWARE_ATTESTATION_FAILED", "AGENT_MANIFEST_MISMATCH",
            "AGENT_KEY_THUMBPRINT_UNBOUND_SUBJECT",
        }  # fmt: skip
        self.assertLessEqual(deployed, {reason.value for reason in VerificationError})
        self.assertEqual(VerificationError.CLAIM_MALFORMED, "CLAIM_MALFORMED")


class Commands(unittest.TestCase):
    """The installed `cmcp` and `cmcp-verify`, as a shell finds them."""

    def run_command(self, name, *args, **environment):
        command = Path(sys.executable).parent / name
        environment = {**os.environ, **environment}
        return subprocess.run([command, *args], capture_output=True, text=True, env=environment, check=False)

    def test_verify(self):
        claim = str(PEER / "claim_dev.json")
        for name, first in [("cmcp", ["verify"]), ("cmcp-verify", [])]:
            args = [*first, claim, "--at", "2026-11-22T07:00:00Z"]
            ran = self.run_command(name, *args, "--policy-hash", POLICY, "--catalog-hash", CATALOG)
            self.assertEqual(ran.returncode, 3, ran)
            self.assertIn("RESULT: partially_verified", ran.stdout)
            self.assertEqual(self.run_command(name, *args, "--policy-hash", "0" * 64).returncode, 1)
            self.assertEqual(self.run_command(name, *first, "nowhere.json").returncode, 2)
            self.assertEqual(self.run_command(name, *first, "--frobnicate").returncode, 64)

    def test_start_becomes_the_host(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("host", "enclave"):
                program = Path(folder) / name
                program.write_text('#!/bin/sh\necho "$0" "$@"\n')
                program.chmod(0o755)
            for environment in ({"CMCP_HOST": f"{folder}/host"}, {"PATH": f"{folder}:{os.environ['PATH']}"}):
                ran = self.run_command("cmcp", "start", "--config", "c.yaml", **environment)
                self.assertEqual((ran.returncode, ran.stdout), (0, f"{folder}/host --config c.yaml\n"))
            ran = self.run_command("cmcp", "check", "--config", "c.yaml", CMCP_HOST=f"{folder}/host")
            self.assertEqual(ran.stdout, f"{folder}/host check --config c.yaml\n")
            (Path(folder) / "enclave").unlink()
            python = Path(sys.executable).parent
            ran = self.run_command("cmcp", "start", PATH=f"{folder}:{python}", CMCP_HOST="")
            self.assertEqual(ran.returncode, 127)
            self.assertIn("CMCP_HOST", ran.stderr)

    def test_help(self):
        ran = self.run_command("cmcp", "--help")
        self.assertEqual(ran.returncode, 0)
        self.assertIn("cmcp start", ran.stdout)
        self.assertEqual(self.run_command("cmcp", "frobnicate").returncode, 64)


if __name__ == "__main__":
    unittest.main()
