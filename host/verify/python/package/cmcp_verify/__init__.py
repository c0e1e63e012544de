"""Checks claims of confidential MCP gateways without trusting who runs them.

The names, signatures and result types are those of the deployed module of the same name; the verdicts are stricter
(README.md says where). Everything is decided by the Rust verifier in this package.
"""

from cmcp_verify._native import __version__
from cmcp_verify.verify import (
    ApprovedHashes,
    AuditBundleResult,
    TrustRecordResult,
    VerificationError,
    VerificationResult,
    VerificationStatus,
    verify_audit_bundle,
    verify_trace_claim,
    verify_trust_record,
)

__all__ = [
    "ApprovedHashes",
    "AuditBundleResult",
    "TrustRecordResult",
    "VerificationError",
    "VerificationResult",
    "VerificationStatus",
    "__version__",
    "verify_audit_bundle",
    "verify_trace_claim",
    "verify_trust_record",
]
