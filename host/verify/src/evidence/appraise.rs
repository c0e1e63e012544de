//! The three answers on a gateway's evidence as a whole: of its boot, of a session or a challenge, and of what both say is
//! running.
//!
//! Each piece of evidence is judged by itself against the 64 bytes that it must be over; then whether all are of one boot, and
//! whether image, configuration, policy bundles and catalog are approved. The first entry of a session names its boot, and its
//! hash is what the session's evidence is over: so one quote inherits everything that the boot says.

mod approve;
pub(crate) mod measurement;
mod piece;
mod session;
mod shown;

use claim::Digest;
use claim::attachment::{Attachment, Collateral};
use claim::binding::{BootBinding, boot_x, challenge_x, session_x};
use claim::evidence::{Evidence, Settings};
use claim::key::PublicKey;
use claim::time::Timestamp;

use super::x509::Chains;
use super::{Answer, Check, Mismatch, Question, Report};
use crate::references::{self, References};
use piece::Judge;

pub(crate) use piece::{NO_REFERENCES, Seen, readable};
pub(crate) use shown::settings_of;
pub use shown::{Challenge, Shown};

/// What to do about a session without evidence.
const NO_SESSION_EVIDENCE: &str = "the attachment has none of this session: get GET /session/ID/evidence again";

/// What is judged.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// What the boot says it runs.
    pub boot: &'a BootBinding,
    /// The boot's key.
    pub key: PublicKey,
    /// Evidence, the boot's first.
    pub pieces: Vec<Piece<'a>>,
    /// What PCR 15 was extended with.
    pub settings: &'a [Settings],
    /// The firmware's event log.
    pub event_log: Option<&'a [u8]>,
    /// Certificates and vendors' statements, from anybody.
    pub collateral: Option<&'a Collateral>,
}

/// One piece of evidence.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// What it is of: `boot`, `session` or `challenge`.
    pub name: &'static str,
    /// The evidence.
    pub evidence: &'a Evidence,
    /// X of the binding that it must be over.
    pub x: Digest,
}

/// Against what, and when.
#[derive(Clone, Copy, Debug)]
pub struct Standard<'a> {
    /// Approved values. Without them nothing is ours, and platforms are asked what is asked by default.
    pub references: Option<&'a References>,
    /// The time at which is judged.
    pub at: Timestamp,
    /// Signatures of certificates that were right before.
    pub chains: &'a Chains,
    /// Whether software evidence and dev mode are left open instead of refused, for claims that say that they are no more.
    pub software: bool,
}

/// Lines about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What they are about.
    pub name: &'static str,
    /// The lines.
    pub report: Report,
}

/// The three answers, and what they rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appraisal {
    /// By piece of evidence, then what they come to together.
    pub parts: Vec<Part>,
    /// What each piece of evidence is of.
    pub(crate) seen: Vec<Seen>,
}

impl Appraisal {
    /// All lines.
    pub fn report(&self) -> Report {
        let mut report = Report::default();
        for part in &self.parts {
            report.append(part.report.clone());
        }
        report
    }

    /// Adds lines about another thing, if there are any.
    pub fn add(&mut self, name: &'static str, report: Report) {
        if !report.lines().is_empty() {
            self.parts.push(Part { name, report });
        }
    }

    /// Whether all three answers are yes.
    pub fn verified(&self) -> bool {
        let report = self.report();
        Question::ALL.iter().all(|question| report.answer(*question) == Answer::Yes)
    }
}

/// Judges what belongs to a claim. Pure: bytes, approved values and a time come in.
pub fn appraise(attachment: &Attachment, standard: &Standard<'_>) -> Appraisal {
    judge(attachment, None, standard)
}

/// Judges whatever a gateway shows of itself.
pub fn appraise_shown(shown: &Shown, standard: &Standard<'_>) -> Appraisal {
    judge(&shown.attachment, shown.challenge.as_ref(), standard)
}

fn judge(attachment: &Attachment, challenge: Option<&Challenge>, standard: &Standard<'_>) -> Appraisal {
    let (boot, mut report) = (&attachment.boot.boot, Report::default());
    let key = report.read(Check::BootKey, "an Ed25519 key", PublicKey::from_x(&attachment.boot.public_key));
    let x = report.read(Check::BootBinding, "values with one canonical spelling", boot_x(boot));
    let (Some(key), Some(x)) = (key, x) else { return single("boot", report) };
    let mut pieces = vec![Piece { name: "boot", evidence: &attachment.boot.evidence, x }];
    let root = session::root(attachment, &x, &mut report);
    match (&attachment.session, root) {
        (Some(evidence), Some(root)) => pieces.push(Piece { name: "session", evidence, x: session_x(&root) }),
        (None, Some(_)) => report.open(Check::SessionEvidence, NO_SESSION_EVIDENCE),
        _ => {}
    }
    pieces.extend(challenge.map(|challenge| Piece {
        name: "challenge",
        evidence: &challenge.evidence,
        x: challenge_x(&x, &challenge.nonce),
    }));
    let subject = Subject {
        boot,
        key,
        pieces,
        settings: &attachment.settings,
        event_log: attachment.event_log.as_ref().map(|log| log.0.as_slice()),
        collateral: attachment.collateral.as_ref(),
    };
    let mut appraisal = appraise_subject(&subject, standard);
    appraisal.add("session entry", report);
    appraisal
}

/// Judges evidence over bindings of one boot.
pub fn appraise_subject(subject: &Subject<'_>, standard: &Standard<'_>) -> Appraisal {
    let mut appraisal = Appraisal::default();
    let mut together = Report::default();
    let anchors = match references::anchors(standard.references) {
        Ok(anchors) => anchors,
        Err(error) => {
            together.open(Check::EvidencePlatform, format!("roots cannot be read: {error}"));
            return single("roots", together);
        }
    };
    let judge = Judge::new(subject, standard, &anchors, &mut together);
    let mut seen = Vec::new();
    for piece in &subject.pieces {
        let mut report = Report::default();
        seen.extend(judge.piece(piece, &mut report));
        appraisal.add(piece.name, report);
    }
    same_boot(&seen, &mut together);
    approve::settings(subject, &seen, &mut together);
    approve::all(subject, standard, &mut together);
    appraisal.add("approved", together);
    Appraisal { seen, ..appraisal }
}

fn single(name: &'static str, report: Report) -> Appraisal {
    Appraisal { parts: vec![Part { name, report }], seen: Vec::new() }
}

/// That all evidence is of one boot of one machine, as far as its type tells.
fn same_boot(seen: &[Seen], report: &mut Report) {
    let [first, others @ ..] = seen else { return };
    if others.is_empty() {
        return;
    }
    let finding = match others.iter().find(|other| other.instance != first.instance) {
        Some(other) => Err(Mismatch::new(&first.instance, &other.instance)),
        None => Ok(first.instance.clone()),
    };
    report.check(Check::EvidenceSame, finding);
}
