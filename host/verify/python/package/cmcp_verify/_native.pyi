"""Native half; not a public interface."""

CLAIM_REASONS: list[str]
__version__: str

def verify_trace_claim(
    claim: bytes,
    *,
    policy_hash: str | None,
    catalog_hash: str | None,
    now_us: int,
    max_age: int,
    trusted_key: str | None,
    profile: str,
    requirements: list[str],
    reference_values: bytes | None,
    looked_in: str,
    attachment: bytes | None,
) -> tuple[str, list[str], list[str], str | None, int, bool, list[tuple[str, str]]]: ...
def verify_audit_bundle(
    bundle: bytes, claim: bytes | None, *, profile: str, require_external_evidence: bool
) -> tuple[bool, int, list[str], str | None]: ...
def verify_trust_record(
    record: bytes,
    *,
    now_us: int,
    max_age: int,
    nonce: str | None,
    trusted_key: str | None,
    claim: bytes | None,
    profile: str,
) -> tuple[str, str | None, list[tuple[str, str, str, str]]]: ...
def cli(args: list[str]) -> int: ...
