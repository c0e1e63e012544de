//! The single checks on a claim that fits its shape. Each says what was expected and what was found.

use claim::Digest;
use claim::b64u;
use claim::binding::session_x;
use claim::json::Json;
use claim::key::PublicKey;
use claim::profile::SOFTWARE_FIRMWARE;
use claim::time::Timestamp;

use crate::shape;
use crate::verdict::{ClaimReason, Finding};

use super::{ALLOWED_SKEW_SECONDS, Options};

type Found = Result<String, Finding<ClaimReason>>;

/// Prefixes of names that are derived from the key. Others are the gateway's own choice.
const DERIVED_KID: &str = "cmcp-";
const DERIVED_SUBJECT: &str = "spiffe://cmcp.gateway/tee/";

/// A claim that fits its shape, read by path.
pub(crate) struct View<'a> {
    claim: &'a Json,
}

impl<'a> View<'a> {
    pub(crate) fn new(claim: &'a Json) -> Self {
        Self { claim }
    }

    pub(crate) fn json(&self) -> &'a Json {
        self.claim
    }

    pub(crate) fn at(&self, path: &[&str]) -> Option<&'a Json> {
        path.iter().try_fold(self.claim, |value, key| value.get(key))
    }

    /// The string at a path that the shape requires; empty if it is optional and absent.
    pub(crate) fn text(&self, path: &[&str]) -> &'a str {
        self.at(path).and_then(Json::as_str).unwrap_or_default()
    }

    pub(crate) fn int(&self, path: &[&str]) -> Option<i64> {
        self.at(path).and_then(Json::as_i64)
    }

    pub(crate) fn flag(&self, path: &[&str]) -> bool {
        self.at(path).and_then(Json::as_bool).unwrap_or_default()
    }

    pub(crate) fn list(&self, path: &[&str]) -> Option<&'a [Json]> {
        self.at(path).and_then(Json::as_array)
    }

    /// Development mode. Older claims name the platform `tpm2` with a firmware version that says what it is; they are
    /// never treated as coming from a TPM.
    pub(crate) fn software_only(&self) -> bool {
        match self.text(&["trace", "runtime", "platform"]) {
            "software-only" => true,
            "tpm2" => self.text(&["trace", "runtime", "firmware_version"]) == SOFTWARE_FIRMWARE,
            _ => false,
        }
    }

    /// The bytes of `trace.runtime.nonce`: `T || SHA256(root)`.
    pub(crate) fn binding(&self) -> Option<Vec<u8>> {
        let text = self.at(&["trace", "runtime", "nonce"])?.as_str()?;
        b64u::decode(text)
    }

    pub(crate) fn key(&self) -> Result<PublicKey, Finding<ClaimReason>> {
        PublicKey::from_x(self.text(&["trace", "cnf", "jwk", "x"]))
            .map_err(|error| Finding::new(ClaimReason::SignatureInvalid, "an Ed25519 key", error.to_string()))
    }

    pub(crate) fn generated_at(&self) -> Result<Timestamp, Finding<ClaimReason>> {
        let text = self.text(&["gateway", "attestation_generated_at"]);
        Timestamp::parse(text).map_err(|_| {
            Finding::new(ClaimReason::ClaimMalformed, "a time in UTC, as 2026-06-05T00:00:00Z", shape::quoted(text))
        })
    }

    /// The bytes of a member of `gateway.attestation_evidence`; the deployed verifier takes both alphabets, with padding and
    /// without.
    pub(crate) fn evidence(&self, member: &str) -> Option<Vec<u8>> {
        shape::evidence_bytes(self.at(&["gateway", "attestation_evidence", member])?.as_str()?)
    }

    /// Root and tip as 64 digits, without the prefix that profile v0.1 writes.
    pub(crate) fn root(&self) -> &'a str {
        bare(self.text(&["gateway", "audit_chain", "root"]))
    }

    pub(crate) fn tip(&self) -> &'a str {
        bare(self.text(&["gateway", "audit_chain", "tip"]))
    }
}

/// A digest without its `sha256:`.
pub(crate) fn bare(hash: &str) -> &str {
    hash.strip_prefix("sha256:").unwrap_or(hash)
}

pub(super) fn key_binding(claim: &View<'_>, binding: Option<Vec<u8>>) -> Found {
    let thumbprint = claim.key()?.thumbprint();
    half(binding, 0, &thumbprint, ClaimReason::PublicKeyNotBound, "thumbprint of the signing key")
}

pub(super) fn root_binding(claim: &View<'_>, binding: Option<Vec<u8>>) -> Found {
    let broken = |found: String| Finding::new(ClaimReason::ChainBroken, "a chain root", found);
    let root = Digest::parse_hex(claim.root()).map_err(|error| broken(error.to_string()))?;
    half(binding, 32, &session_x(&root), ClaimReason::ChainRootNotBound, "hash of the chain root")
}

/// One half of the 64 bytes of a session's binding.
fn half(binding: Option<Vec<u8>>, offset: usize, expected: &Digest, reason: ClaimReason, what: &str) -> Found {
    let fail = |found: String| Finding::new(reason, format!("{what}, {}", expected.hex()), found);
    let Some(binding) = binding else { return Err(fail("no trace.runtime.nonce".into())) };
    let found = binding.get(offset..).and_then(<[u8]>::first_chunk).filter(|_| binding.len() == 64);
    let Some(found) = found else { return Err(fail(format!("a trace.runtime.nonce of {} bytes", binding.len()))) };
    if found == expected.bytes() {
        return Ok(expected.hex());
    }
    Err(fail(Digest::from_bytes(*found).hex()))
}

pub(super) fn trusted_key(claim: &View<'_>, trusted: &str) -> Found {
    let key = claim.key()?.hex();
    if key.eq_ignore_ascii_case(trusted.trim()) {
        return Ok(key);
    }
    Err(Finding::new(ClaimReason::PublicKeyNotBound, format!("key {}", shape::quoted(trusted)), format!("key {key}")))
}

/// Names that are spelled like those derived from a key must be derived from this one.
pub(super) fn key_id(claim: &View<'_>) -> Found {
    let key = claim.key()?;
    let kid = claim.text(&["trace", "cnf", "jwk", "kid"]);
    let subject = claim.text(&["trace", "subject"]);
    for (found, prefix, expected) in [(kid, DERIVED_KID, key.kid()), (subject, DERIVED_SUBJECT, key.subject())] {
        if found.starts_with(prefix) && found != expected {
            return Err(Finding::new(ClaimReason::KeyIdMismatch, expected, shape::quoted(found)));
        }
    }
    Ok(subject.to_owned())
}

pub(super) fn same_hash(stated: &str, approved: &str, reason: ClaimReason) -> Found {
    let approved = approved.trim();
    if bare(stated).eq_ignore_ascii_case(bare(approved)) {
        return Ok(stated.to_owned());
    }
    Err(Finding::new(reason, shape::quoted(approved), stated))
}

pub(super) fn listed_hash(stated: &str, approved: &[Digest], reason: ClaimReason) -> Found {
    if approved.iter().any(|hash| hash.hex().eq_ignore_ascii_case(bare(stated))) {
        return Ok(stated.to_owned());
    }
    let approved: Vec<_> = approved.iter().map(ToString::to_string).collect();
    Err(Finding::new(reason, approved.join(" or "), stated))
}

/// An agent key counts only where the subject was authenticated live; anything else is an assertion of the config.
pub(super) fn agent_key(claim: &View<'_>) -> Option<Found> {
    claim.at(&["gateway", "agent_identity", "agent_key_thumbprint"])?;
    let source = claim.text(&["gateway", "agent_identity", "subject_source"]);
    Some(if source == "svid" {
        Ok(source.to_owned())
    } else {
        let reason = ClaimReason::AgentKeyThumbprintUnboundSubject;
        Err(Finding::new(reason, "a subject authenticated by an SVID", shape::quoted(source)))
    })
}

pub(super) fn issued_at(claim: &View<'_>, now: Timestamp) -> Found {
    let iat = claim.int(&["trace", "iat"]).unwrap_or_default();
    if iat.saturating_sub(now.seconds()) > ALLOWED_SKEW_SECONDS {
        let expected = format!("no later than {ALLOWED_SKEW_SECONDS} seconds after now");
        let found = format!("{} ({} s ahead)", Timestamp::from_seconds(iat), iat.saturating_sub(now.seconds()));
        return Err(Finding::new(ClaimReason::TimeInFuture, expected, found));
    }
    Ok(Timestamp::from_seconds(iat).to_string())
}

/// The age in seconds, never negative, and whether it is acceptable.
pub(super) fn freshness(generated: Timestamp, options: &Options) -> (i64, Found) {
    let age = options.now.micros().saturating_sub(generated.micros()).div_euclid(1_000_000);
    let shown = age.max(0);
    let result = if age < -ALLOWED_SKEW_SECONDS {
        let expected = format!("no later than {ALLOWED_SKEW_SECONDS} seconds after now");
        let found = format!("{generated} ({} s ahead)", age.saturating_neg());
        Err(Finding::new(ClaimReason::TimeInFuture, expected, found))
    } else if shown > options.max_age_seconds {
        let expected = format!("at most {} s", options.max_age_seconds);
        Err(Finding::new(ClaimReason::AttestationStale, expected, format!("{shown} s")))
    } else {
        Ok(format!("{shown} s old"))
    };
    (shown, result)
}

/// Root, tip, length and transcript hash fit together.
pub(super) fn chain(claim: &View<'_>) -> Found {
    let (root, tip) = (claim.root(), claim.tip());
    let length = claim.int(&["gateway", "audit_chain", "length"]).unwrap_or_default();
    if (root == tip) != (length == 1) {
        let expected = "root and tip equal exactly if the length is 1";
        return Err(Finding::new(
            ClaimReason::ChainBroken,
            expected,
            format!("length {length}, root {root}, tip {tip}"),
        ));
    }
    match claim.at(&["trace", "tool_transcript", "hash"]).and_then(Json::as_str) {
        Some(hash) if bare(hash) != tip => {
            Err(Finding::new(ClaimReason::ChainBroken, format!("tool_transcript.hash sha256:{tip}"), hash))
        }
        _ => Ok(format!("{length} entries, tip {tip}")),
    }
}

pub(super) fn sequence_number(claim: &View<'_>) -> Found {
    let Some(number) = claim.int(&["gateway", "sequence_number"]) else { return Ok("none in this profile".into()) };
    let reason = ClaimReason::SequenceNumberInvalid;
    if number < 1 {
        return Err(Finding::new(reason, "at least 1", number.to_string()));
    }
    if number == 1 && claim.at(&["gateway", "prev_claim_hash"]).is_some() {
        return Err(Finding::new(reason, "no prev_claim_hash in claim 1", "one"));
    }
    Ok(number.to_string())
}

/// The counts fit each other. Whether they fit the entries is asked when there is an audit bundle.
pub(super) fn summary(claim: &View<'_>) -> Found {
    let count = |name| claim.int(&["gateway", "call_summary", name]).unwrap_or_default();
    let total = count("tool_calls_total");
    let parts = ["tool_calls_allowed", "tool_calls_denied", "tool_calls_faulted"].map(count);
    let sum = parts.iter().fold(0_i64, |sum, part| sum.saturating_add(*part));
    let fail = |expected: String, found: String| Err(Finding::new(ClaimReason::SummaryInconsistent, expected, found));
    if sum > total {
        return fail(format!("allowed, denied and faulted of {total} calls"), format!("{sum} of them"));
    }
    if let Some(calls) = claim.int(&["trace", "tool_transcript", "call_count"])
        && calls != total
    {
        return fail(format!("tool_transcript.call_count {total}"), calls.to_string());
    }
    if let Some(entries) = claim.list(&["trace", "tool_transcript", "entries"])
        && i64::try_from(entries.len()).is_ok_and(|listed| listed > total)
    {
        // Fewer are possible: a call of a tool that the catalog does not have has no name to list.
        return fail(format!("at most {total} transcript entries"), entries.len().to_string());
    }
    Ok(format!("{total} calls"))
}
