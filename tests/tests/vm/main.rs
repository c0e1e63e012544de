//! The measured images, booted: UEFI, a TPM and vsock in software, no KVM. `tests/run vm` installs what that takes; the images are
//! those that `image/build` made. At most ten boots in all.

mod attacks;
mod azure;
mod azure_single;
mod crash;
mod desk;
mod end_to_end;
mod load;
mod packages;

use serde_json::{Value, json};
use tests::gateway::{Gateway, Named};
use tests::setup::Setup;
use tests::store::Auditor;

/// The quickstart's documents as they have to be where something is at stake.
fn production(url: &str, auditor: &Auditor) -> Setup {
    let setup = Setup::quickstart(url).agents(&["alice", "bob"]).sealed_to(&auditor.key).durability("strict");
    setup.with("/attestation/provider", json!("tpm"))
}

fn got(agent: &Named<'_>, path: &str) -> Value {
    let answer = agent.get(path);
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    answer.json()
}

/// A session's claim and what judging it takes.
fn claimed(gateway: &Gateway, session: &str) -> (Value, Value) {
    let alice = gateway.caller("alice");
    (got(&alice, &format!("/session/{session}/claim")), got(&alice, &format!("/session/{session}/evidence")))
}

/// PCRs that a session's quote is over, as `sha256:` and digits.
fn quoted(evidence: &Value, number: usize) -> Value {
    let digits = evidence["session"]["quote"]["pcrs"][number].as_str().expect("a PCR");
    json!(format!("sha256:{digits}"))
}
