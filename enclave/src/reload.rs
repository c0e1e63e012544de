//! A policy bundle for a running gateway: signed, newer, for the same catalog, and for new sessions only.

use std::rc::Rc;

use claim::Digest;
use claim::bootlog::ControlRecord;
use claim::evidence::Settings;
use wire::{BootRefusal, Document, PolicyFile, RefusalCode, ReloadReport};

use crate::document::refusal;
use crate::gateway::Gateway;
use crate::limits;
use crate::policy::{Policy, Provenance};

/// Puts a policy bundle in force for the sessions that begin from now on, on record.
///
/// # Errors
/// The first thing that is wrong with the bundle; nothing has changed then. Or the record is not stored yet: no session
/// begins under the bundle before it is.
pub async fn reload(gateway: &Gateway, files: &[PolicyFile]) -> Result<ReloadReport, BootRefusal> {
    if gateway.stopping.get() || !gateway.audit.is_open() {
        return Err(not_now("an enclave that is stopping or whose record store does not answer", "another time"));
    }
    let current = gateway.policy();
    let admit = |bundle: &Provenance<'_>| gateway.authority.succeed(bundle, current.version());
    let policy = Rc::new(Policy::load_admitted(files, &gateway.catalog, admit)?);
    let signed_by = policy.signed_by().ok_or_else(|| not_now("a bundle without a signer", "a signature"))?;
    attest(gateway, policy.bundle_hash()).await?;
    let record = ControlRecord::PolicyLoad {
        at: gateway.clock.now(),
        bundle_hash: policy.bundle_hash(),
        version: policy.version().to_owned(),
        signed_by,
    };
    let ticket = gateway.record_control(&record).map_err(|_| not_now("a record that cannot be written", ""))?;
    // In the same step as the record: sessions after it in the log are those that begin under the bundle.
    gateway.put_in_force(policy.clone());
    if gateway.stored(&ticket).await.is_err() {
        return Err(not_now("a record store that does not answer", "its return: the bundle is in force then"));
    }
    Ok(ReloadReport {
        bundle_hash: *policy.bundle_hash().bytes(),
        signed_by: *signed_by.bytes(),
        policies: u32::try_from(policy.policies()).unwrap_or(u32::MAX),
        warnings: policy.warnings().iter().take(limits::MAX_WARNINGS).map(|text| text.as_str().into()).collect(),
    })
}

/// Extends PCR 15 before the bundle is in force: evidence may name what nobody used yet, and never leaves out what was used.
async fn attest(gateway: &Gateway, bundle_hash: Digest) -> Result<(), BootRefusal> {
    let before = gateway.settings.borrow().last().copied();
    let before = before.ok_or_else(|| not_now("a boot without settings", "a new boot"))?;
    let settings = Settings { bundle_hash, ..before };
    gateway.boot.attestor.extend(&settings.digest()).await.map_err(|failure| {
        refusal(
            RefusalCode::Attestation,
            &Document::None,
            "",
            &format!("hardware that does not note the change: {failure}"),
            "hardware that answers: the bundle before stays in force",
        )
    })?;
    gateway.settings.borrow_mut().push(settings);
    Ok(())
}

fn not_now(found: &str, expected: &str) -> BootRefusal {
    refusal(RefusalCode::State, &Document::None, "", found, expected)
}
