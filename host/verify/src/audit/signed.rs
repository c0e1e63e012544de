//! Who vouches for the entries: the bundle's signature, or the signed batches of the store.

use claim::Digest;
use claim::json::Json;
use claim::key::PublicKey;

use crate::shape;
use crate::store::ProvenEntries;
use crate::trace_claim::View;

use super::reader::Bundle;
use super::{BundleOptions, BundleReason, Report};

const NAME: &str = "bundle_signature";

pub(super) fn check(bundle: &Bundle<'_>, claim: Option<&Json>, options: BundleOptions<'_>, report: &mut Report) {
    let Some(digest) = bundle.digest else { return };
    let claimed = claim.and_then(|claim| PublicKey::from_x(View::new(claim).text(&["trace", "cnf", "jwk", "x"])).ok());
    let key = match (claimed, &bundle.signature, options.proven) {
        (Some(key), Some(signature), _) => by_signature(&key, digest, signature, report),
        (_, _, Some(proven)) => by_batches(proven, claimed, digest, report),
        (Some(_), None, None) => {
            report.fail(NAME, BundleReason::SignatureMissing, None, "the bundle is not signed");
            None
        }
        (None, _, None) => {
            report.open(NAME, "no claim was given, so no key is known");
            None
        }
    };
    if let (Some(key), Some(trusted)) = (key, options.trusted_key) {
        if key.hex().eq_ignore_ascii_case(trusted.trim()) {
            report.pass("trusted_key", key.hex());
        } else {
            let message = format!("expected {}, found {}", shape::quoted(trusted), key.hex());
            report.fail("trusted_key", BundleReason::PublicKeyNotBound, None, message);
        }
    }
}

fn by_signature(key: &PublicKey, digest: Digest, signature: &str, report: &mut Report) -> Option<PublicKey> {
    match key.verify_bundle(digest, signature) {
        Ok(()) => {
            report.pass(NAME, format!("Ed25519, key {}", key.hex()));
            Some(*key)
        }
        Err(error) => {
            report.fail(NAME, BundleReason::SignatureInvalid, None, error.to_string());
            None
        }
    }
}

fn by_batches(
    proven: &ProvenEntries,
    claimed: Option<PublicKey>,
    digest: Digest,
    report: &mut Report,
) -> Option<PublicKey> {
    if !proven.digests.contains(&digest) {
        let message = "the signed batches hold other entries of this session";
        report.fail(NAME, BundleReason::ProofInvalid, None, message);
        return None;
    }
    if let Some(claimed) = claimed.filter(|claimed| *claimed != proven.key) {
        let message = format!("the batches are signed by {}, the claim by {}", proven.key.hex(), claimed.hex());
        report.fail(NAME, BundleReason::PublicKeyNotBound, None, message);
        return None;
    }
    report.pass(NAME, format!("signed batches of boot {}, key {}", proven.boot_id, proven.key.hex()));
    Some(proven.key)
}
