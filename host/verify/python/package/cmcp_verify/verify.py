"""The functions and result types of :mod:`cmcp_verify`.

Claims and bundles are given as bytes or text, as they were received, or as parsed by :mod:`json`. Prefer bytes: a parser
has already dropped what it disagreed on, duplicate keys above all.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cmcp_verify import _native

Document = Mapping[str, Any] | str | bytes | bytearray

_REFERENCE_VALUES = "reference-values.json"


class VerificationStatus(StrEnum):
    """The answer in one word."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    PARTIALLY_VERIFIED = "partially_verified"


VerificationError = StrEnum("VerificationError", {name: name for name in _native.CLAIM_REASONS}, module=__name__)
VerificationError.__doc__ = "What is wrong with a claim. The deployed module's names, and those of the stricter checks."


@dataclass
class ApprovedHashes:
    """What the relying party approved. ``None`` leaves the field unverified and says so."""

    policy_bundle_hash: str | None
    tool_catalog_hash: str | None


@dataclass
class VerificationResult:
    """The verdict on a claim. ``failure_reason`` is set exactly if ``status`` is ``unverified``."""

    status: VerificationStatus
    verified_fields: list[str]
    unverified_fields: list[str]
    failure_reason: VerificationError | None
    attestation_age_seconds: int
    is_attestation_fresh: bool
    details: dict[str, str] = field(default_factory=dict)


@dataclass
class AuditBundleResult:
    """The verdict on an audit bundle. ``finality`` is ``final`` if the session was over, else ``interim``."""

    verified: bool
    entry_count: int
    failures: list[str] = field(default_factory=list)
    finality: str | None = None


@dataclass
class TrustRecordResult:
    """The verdict on a TRACE trust record; ``checks`` are (name, outcome, expected, found)."""

    status: VerificationStatus
    failure_reason: str | None
    checks: list[tuple[str, str, str, str]] = field(default_factory=list)


def verify_trace_claim(
    claim_json: Document,
    approved: ApprovedHashes,
    max_attestation_age_seconds: int = 86400,
    *,
    trusted_public_key_hex: str | None = None,
    agent_manifest: dict[str, Any] | None = None,
    trusted_agent_manifest_keys: dict[str, bytes] | None = None,
    trusted_ark_pem: bytes | None = None,
    trusted_intel_root_pem: bytes | None = None,
    trusted_tpm_ca_pem: bytes | None = None,
    expected_gateway_measurement: str | bytes | None = None,
    snp_platform_policy: object | None = None,
    expected_launch_measurements: Collection[str] | None = None,
    profile: str = "trace-v0.2",
    attachment: Document | None = None,
) -> VerificationResult:
    """Verifies a claim against what was approved.

    A claim of a hardware platform is ``verified`` if its evidence is genuine, current and ours: ``attachment`` is the answer
    of ``GET /session/{id}/evidence``; what is ours is in the reference values, the file that ``CMCP_REFERENCE_VALUES`` names,
    else ``./reference-values.json``. Vendors' roots are built in. ``details`` has the three answers, and what is missing.
    ``trusted_*_pem``, ``expected_launch_measurements`` and their like are taken for the deployed signature's sake: roots and
    measurements count only from the reference values.

    Agent manifests, gateway measurements and SNP platform policies cannot be judged by this build: giving one makes the
    claim ``unverified`` by name. ``profile`` is ``trace-v0.2`` or ``trace-v0.1``, never both.
    """
    del trusted_agent_manifest_keys, trusted_ark_pem, trusted_intel_root_pem, trusted_tpm_ca_pem
    del expected_launch_measurements
    requirements = {
        "agent_manifest": agent_manifest,
        "gateway_measurement": expected_gateway_measurement,
        "snp_platform_policy": snp_platform_policy,
    }
    reference_values, looked_in = _reference_values()
    status, verified, unverified, reason, age, fresh, details = _native.verify_trace_claim(
        _document(claim_json),
        policy_hash=approved.policy_bundle_hash,
        catalog_hash=approved.tool_catalog_hash,
        now_us=time.time_ns() // 1000,
        max_age=int(max_attestation_age_seconds),
        trusted_key=trusted_public_key_hex,
        profile=profile,
        requirements=[name for name, value in requirements.items() if value is not None],
        reference_values=reference_values,
        looked_in=looked_in,
        attachment=None if attachment is None else _document(attachment),
    )
    return VerificationResult(
        status=VerificationStatus(status),
        verified_fields=verified,
        unverified_fields=unverified,
        failure_reason=VerificationError(reason) if reason else None,
        attestation_age_seconds=age,
        is_attestation_fresh=fresh,
        details=dict(details),
    )


def verify_audit_bundle(
    bundle_json: Document,
    claim_json: Document | None = None,
    *,
    external_evidence_keys: dict[str, bytes] | None = None,
    profile: str = "trace-v0.2",
) -> AuditBundleResult:
    """Verifies an exported audit bundle, and with a claim that both speak of one history, signed by one key.

    Without a claim no key is known, and ``verified`` says only that the entries form a chain. Receipts of tool servers
    cannot be judged by this build: with ``external_evidence_keys`` each entry that has one is a failure.
    """
    return AuditBundleResult(
        *_native.verify_audit_bundle(
            _document(bundle_json),
            None if claim_json is None else _document(claim_json),
            profile=profile,
            require_external_evidence=external_evidence_keys is not None,
        )
    )


def verify_trust_record(
    record_json: Document,
    claim_json: Document | None = None,
    max_age_seconds: int = 86400,
    *,
    expected_nonce: str | None = None,
    trusted_public_key_hex: str | None = None,
    profile: str = "trace-v0.2",
) -> TrustRecordResult:
    """Verifies a TRACE trust record, and with a claim that the record is about it; ``profile`` is the claim's."""
    status, reason, checks = _native.verify_trust_record(
        _document(record_json),
        now_us=time.time_ns() // 1000,
        max_age=int(max_age_seconds),
        nonce=expected_nonce,
        trusted_key=trusted_public_key_hex,
        claim=None if claim_json is None else _document(claim_json),
        profile=profile,
    )
    return TrustRecordResult(VerificationStatus(status), reason, checks)


def _document(value: Document) -> bytes:
    """The bytes to verify. What is no document becomes no JSON, which the verifier refuses by name."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    try:
        return json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return f"not JSON: {error}".encode()


def _reference_values() -> tuple[bytes | None, str]:
    """What hardware evidence is compared with, or where it was looked for."""
    named = os.environ.get("CMCP_REFERENCE_VALUES")
    path = named or _REFERENCE_VALUES
    try:
        with open(path, "rb") as file:
            return file.read(), path
    except OSError as error:
        unset = "" if named else "CMCP_REFERENCE_VALUES is not set, "
        return None, f"{unset}{path}: {error.strerror}"
