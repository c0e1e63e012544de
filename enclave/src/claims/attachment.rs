//! What goes with a session's claim: the evidence that its entries name, read back from the store, and what judging it takes.

use std::rc::Rc;

use claim::Digest;
use claim::attachment::{Attachment, VERSION};
use claim::evidence::{Evidence, SETTINGS_PCR, Settings};
use claim::json;

use crate::error::Code;
use crate::freshness::SessionEvidence;
use crate::gateway::Gateway;
use crate::recall;
use crate::session::Find;

/// Where a session's evidence and first entry are.
struct Place {
    session: u64,
    first_batch: u64,
    root: Digest,
    evidence: Option<Rc<SessionEvidence>>,
}

/// SA of the attachment.
///
/// # Errors
/// [`Code::AuditUnavailable`], [`Code::AuditMismatch`].
pub async fn attachment(gateway: &Gateway, found: &Find) -> Result<Vec<u8>, Code> {
    let Place { session, first_batch, root, evidence } = place(found).await?;
    let start = recall::first_entry(gateway, session, first_batch, root).await?;
    let over_session = match &evidence {
        Some(evidence) => Some(read(gateway, session, evidence).await?),
        None => None,
    };
    let boot = evidence.map_or_else(|| gateway.attested(), |evidence| evidence.boot.clone());
    let attachment = Attachment {
        version: VERSION,
        boot: boot.shown.clone(),
        settings: settings(&gateway.settings.borrow(), over_session.as_ref()),
        session_start: Some(start),
        session: over_session,
        event_log: gateway.boot.attestor.event_log().map(claim::b64u::Octets),
        collateral: gateway.collateral.borrow().as_deref().cloned(),
    };
    attachment.bytes().map_err(|_| Code::Internal)
}

/// A session's evidence, read back from the store.
///
/// # Errors
/// [`Code::AuditUnavailable`], [`Code::AuditMismatch`].
pub(super) async fn read(gateway: &Gateway, session: u64, evidence: &SessionEvidence) -> Result<Evidence, Code> {
    let _ = evidence.ticket.stored().await;
    let bytes = recall::evidence(gateway, session, evidence).await?;
    json::read(&bytes).map_err(|_| Code::AuditMismatch)
}

async fn place(found: &Find) -> Result<Place, Code> {
    match found {
        Find::Closed(closed) => Ok(Place {
            session: closed.number,
            first_batch: closed.batches.0,
            root: closed.root,
            evidence: closed.evidence.clone(),
        }),
        Find::Open(session) => {
            let (place, last) = {
                let state = session.state.borrow();
                let place = Place {
                    session: session.number,
                    first_batch: state.batches().ok_or(Code::Internal)?.0,
                    root: state.chain.root().ok_or(Code::Internal)?,
                    evidence: state.standing.evidence.clone(),
                };
                (place, state.last.clone())
            };
            if let Some(last) = last {
                last.stored().await?;
            }
            Ok(place)
        }
    }
}

/// Those that PCR 15 held when the session's evidence was made: a policy may have been loaded since. If it holds something
/// else, all of them.
fn settings(all: &[Settings], evidence: Option<&Evidence>) -> Vec<Settings> {
    let Some(pcrs) = evidence.and_then(Evidence::pcrs) else { return all.to_vec() };
    let held = pcrs.0.get(SETTINGS_PCR).copied().unwrap_or_default();
    let mut value = [0; 32];
    let extended = |settings: &Settings| {
        value = settings.extend(value);
        value == held
    };
    all.iter().position(extended).and_then(|last| all.get(..=last)).unwrap_or(all).to_vec()
}

#[cfg(test)]
mod tests {
    use claim::b64u::Octets;
    use claim::evidence::{Pcrs, SignedAttest, TpmEvidence, TpmQuote};

    use super::*;

    fn quoted(pcr15: [u8; 32]) -> Evidence {
        let mut pcrs = Pcrs([[0; 32]; 24]);
        pcrs.0[15] = pcr15;
        let none = Octets::default;
        let quote = TpmQuote { message: none(), signature: none(), pcrs };
        let key_quote = SignedAttest { message: none(), signature: none() };
        Evidence::Tpm(TpmEvidence { ak_public: none(), quote, key_quote, ak_certificate: None })
    }

    #[test]
    fn settings_end_where_the_quote_does() {
        let digest = |text: &str| Digest::of(text);
        let one = |name: &str| Settings {
            bundle_hash: digest(name),
            catalog_hash: digest("catalog"),
            config_hash: digest("config"),
            controls_hash: digest("controls"),
        };
        let all = ["first", "second", "third"].map(one);
        let extend =
            |before: [u8; 32], settings: &Settings| *Digest::of([before, *settings.digest().bytes()].concat()).bytes();
        let first = extend([0; 32], &all[0]);
        let second = extend(first, &all[1]);
        assert_eq!(settings(&all, Some(&quoted(first))), all[..1]);
        assert_eq!(settings(&all, Some(&quoted(second))), all[..2]);
        assert_eq!(settings(&all, Some(&quoted([7; 32]))), all);
        assert_eq!(settings(&all, None), all);
    }
}
