//! Is what answers over this TLS connection the gateway that was approved?
//!
//! Pure: what the other end showed, the challenge that was sent and the approved values come in, a verdict comes out. The
//! checks, in their order: the certificate carries evidence of a boot; the gateway's answer is about the same boot and
//! key; the evidence is bound to that boot, to that key and to the challenge, and is genuine and current; image,
//! configuration, policy bundle and catalog are approved; and the TLS key is one that the evidence names. Without the last
//! one everything before it could be somebody else's, passed on.

mod certificate;
mod evidence;
mod report;

use claim::Digest;
use claim::attachment::Collateral;
use claim::b64u;
use claim::binding::{BootBinding, binding, boot_x, challenge_x};
use claim::evidence::{BootEvidence, Evidence, Settings, SoftwareEvidence};
use claim::json::from_json;
use claim::key::PublicKey;
use claim::time::Timestamp;

pub use self::certificate::tls_key;
use self::report::{Finding, Report};
use crate::evidence::appraise::{Appraisal, Piece, Standard, Subject, appraise_subject, settings_of};
use crate::evidence::x509::Chains;
use crate::references::{Image, References};
use crate::verdict::{Check, Outcome, Status, reasons};

reasons! {
    /// Why a gateway is refused before it is told anything.
    Reason {
        /// What answers does not speak TLS.
        NotTls = "NOT_TLS",
        /// What answers does not speak TLS 1.3.
        TlsVersion = "TLS_VERSION",
        /// The handshake failed; a signature by another key than the certificate's is one cause.
        TlsHandshake = "TLS_HANDSHAKE",
        /// The gateway does not answer `GET /attestation`.
        NotAnswered = "ATTESTATION_NOT_ANSWERED",
        /// The certificate cannot be read.
        CertificateMalformed = "CERTIFICATE_MALFORMED",
        /// The certificate carries no evidence.
        ExtensionMissing = "EXTENSION_MISSING",
        /// The certificate carries evidence twice.
        ExtensionTwice = "EXTENSION_TWICE",
        /// The certificate's evidence is longer than 32 KiB.
        ExtensionTooLong = "EXTENSION_TOO_LONG",
        /// The certificate's evidence is not a CMW record in JSON with a boot's evidence.
        ExtensionMalformed = "EXTENSION_MALFORMED",
        /// The document in the certificate is not that of a boot.
        DocumentMalformed = "DOCUMENT_MALFORMED",
        /// The answer of `GET /attestation` is not one.
        AnswerMalformed = "ANSWER_MALFORMED",
        /// Evidence of a type that this build cannot judge.
        EvidenceTypeUnknown = "EVIDENCE_TYPE_UNKNOWN",
        /// Evidence that is not of its type's shape.
        EvidenceMalformed = "EVIDENCE_MALFORMED",
        /// Certificate and answer are of different boots.
        BootMismatch = "BOOT_MISMATCH",
        /// Certificate and answer name different keys, or none.
        KeyMismatch = "KEY_MISMATCH",
        /// The answer's digest of the boot is not that of the boot.
        BootDigestMismatch = "BOOT_DIGEST_MISMATCH",
        /// The answer is to another challenge.
        NonceMismatch = "NONCE_MISMATCH",
        /// The evidence is for another boot or another key.
        BootNotBound = "BOOT_NOT_BOUND",
        /// The evidence is for another challenge: replayed, or for another boot or key.
        ChallengeNotBound = "CHALLENGE_NOT_BOUND",
        /// The evidence is not signed by the gateway's key.
        EvidenceSignatureInvalid = "EVIDENCE_SIGNATURE_INVALID",
        /// Nothing but the process itself vouches for it.
        SoftwareEvidence = "SOFTWARE_EVIDENCE",
        /// The gateway runs in dev mode.
        DevMode = "DEV_MODE",
        /// Another image than the approved ones.
        ImageNotApproved = "IMAGE_NOT_APPROVED",
        /// Another configuration than the approved ones.
        ConfigNotApproved = "CONFIG_NOT_APPROVED",
        /// Another policy bundle than the approved ones.
        BundleNotApproved = "BUNDLE_NOT_APPROVED",
        /// Another catalog than the approved ones.
        CatalogNotApproved = "CATALOG_NOT_APPROVED",
        /// The connection ends at a key that the evidence does not name: somebody is in between.
        TlsKeyNotBound = "TLS_KEY_NOT_BOUND",
        /// Certificates, collateral or approved values are missing that judging evidence of hardware takes.
        EvidenceNotJudged = "EVIDENCE_NOT_JUDGED",
        /// Behind the same address is another boot, or somebody else, than the one that was verified.
        NewBoot = "NEW_BOOT",
    }
    or
    /// A check on evidence of hardware failed.
    Evidence(crate::evidence::Check)
}

/// What the other end of a TLS connection showed.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// DER of the certificate whose key the handshake was signed with.
    pub leaf: &'a [u8],
    /// What it answered to `GET /attestation?nonce=`.
    pub answer: &'a [u8],
    /// The challenge: the bytes that went out as `nonce`.
    pub nonce: &'a [u8],
}

/// How to judge.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Whether software evidence and dev mode are accepted: anyone who knows the approved values can say them.
    pub accept_software: bool,
    /// The time at which hardware and certificates must be good.
    pub at: Timestamp,
    /// Certificates and vendors' statements about the gateway's hardware, from anybody.
    pub collateral: Option<&'a Collateral>,
}

/// The verdict on a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The answer in one word. Over software evidence never [`Status::Verified`].
    pub status: Status,
    /// What is wrong; with several things, the first. Present exactly if the status is [`Status::Unverified`].
    pub failure_reason: Option<Reason>,
    /// Every check made.
    pub checks: Vec<Check>,
    /// The boot that was verified. Present exactly if nothing is wrong.
    pub boot: Option<Boot>,
    /// The three answers on evidence of hardware.
    pub appraisal: Option<Appraisal>,
}

/// A boot that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// What it runs, and its TLS keys.
    pub binding: BootBinding,
    /// Its key, which signs claims and audit bundles.
    pub key: PublicKey,
}

impl Verdict {
    /// A refusal before anything was shown.
    pub fn refused(reason: Reason, expected: &str, actual: impl Into<String>) -> Self {
        let mut report = Report::default();
        report.rule("connection", Err(Finding::new(reason, expected, actual)));
        report.verdict(None)
    }
}

/// Judges what a gateway showed. See the module.
pub fn verify_attestation(shown: &Shown<'_>, references: &References, options: &Options<'_>) -> Verdict {
    let mut report = Report::default();
    let boot = judge(shown, references, options, &mut report);
    report.verdict(boot)
}

fn judge(shown: &Shown<'_>, references: &References, options: &Options<'_>, report: &mut Report) -> Option<Boot> {
    let leaf = report.read("certificate", certificate::read(shown.leaf))?;
    let document = report.read("certificate_evidence", certificate::document(&leaf))?;
    let answer = report.read("answer", Answer::read(shown.answer))?;
    report.rule("boot", same_boot(&document.boot, &answer.boot));
    let key = report.read("public_key", same_key(&document, &answer))?;
    let x = report.read("boot_x", digest_of_boot(&answer))?;
    report.rule("nonce", same_nonce(&answer, shown.nonce));

    let pieces = [&document.evidence, &answer.boot_evidence, &answer.challenge_evidence];
    let of = [x, x, challenge_x(&x, shown.nonce)];
    match evidence::software(pieces) {
        Some(pieces) => {
            software(pieces, of, &key, report);
            evidence::accept(document.boot.dev, options, report);
            approve(references, &document.boot, pieces, report);
        }
        None => hardware((pieces, of), (&document.boot, &answer.settings), &key, (references, options), report),
    }
    report.rule("tls_key", bound_tls_key(&leaf.key, &document.boot));
    Some(Boot { binding: document.boot, key })
}

fn software(pieces: [&SoftwareEvidence; 3], of: [Digest; 3], key: &PublicKey, report: &mut Report) {
    let names = ["certificate_binding", "boot_evidence", "challenge_evidence"];
    let unbound = [Reason::BootNotBound, Reason::BootNotBound, Reason::ChallengeNotBound];
    for (((name, piece), x), unbound) in names.into_iter().zip(pieces).zip(of).zip(unbound) {
        report.rule(name, evidence::holds(piece, key, &binding(&key.thumbprint(), &x), unbound));
    }
}

/// Accepted only if it is genuine, current and ours. The program of a dev mode's process is no image of hardware.
fn hardware(
    (pieces, of): ([&Evidence; 3], [Digest; 3]),
    (boot, settings): (&BootBinding, &[Settings]),
    key: &PublicKey,
    (references, options): (&References, &Options<'_>),
    report: &mut Report,
) {
    let names = ["certificate", "boot", "challenge"];
    let pieces = names.into_iter().zip(pieces).zip(of).map(|((name, evidence), x)| Piece { name, evidence, x });
    let subject = Subject {
        boot,
        key: *key,
        pieces: pieces.collect(),
        settings,
        event_log: None,
        collateral: options.collateral,
    };
    let standard =
        Standard { references: Some(references), at: options.at, chains: &Chains::default(), software: false };
    let appraisal = appraise_subject(&subject, &standard);
    report.rule("hardware", three_answers(&appraisal));
    report.appraised(appraisal);
}

fn three_answers(appraisal: &Appraisal) -> Result<String, Finding> {
    let report = appraisal.report();
    let line = |outcome| report.lines().iter().find(|line| line.outcome == outcome);
    if let Some(line) = line(Outcome::Fail) {
        let actual = format!("{}: {}", line.check.id(), line.actual);
        return Err(Finding::new(Reason::Evidence(line.check), &line.expected, actual));
    }
    if appraisal.verified() {
        return Ok("genuine, current and ours".to_owned());
    }
    let missing = line(Outcome::Open).map_or_else(String::new, |line| format!("{}: {}", line.check.id(), line.actual));
    Err(Finding::new(Reason::EvidenceNotJudged, "evidence that can be judged: --collateral FILE", missing))
}

/// What of the answer of `GET /attestation` is judged. The rest is for people.
struct Answer {
    boot: BootBinding,
    boot_x: String,
    public_key: String,
    nonce: String,
    boot_evidence: Evidence,
    challenge_evidence: Evidence,
    settings: Vec<Settings>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Result<Self, Finding> {
        let malformed = |found: String| Finding::new(Reason::AnswerMalformed, "the answer of GET /attestation", found);
        let json = claim::json::parse(bytes).map_err(|error| malformed(error.to_string()))?;
        let member = |name: &str| json.get(name).ok_or_else(|| malformed(format!("no member {name}")));
        let text = |name: &str| {
            let text = member(name)?.as_str().ok_or_else(|| malformed(format!("{name} is no text")))?;
            Ok(text.to_owned())
        };
        let boot: BootBinding = from_json(member("boot")?).map_err(|error| malformed(format!("boot: {error}")))?;
        let settings = match json.get("settings") {
            Some(settings) => from_json(settings).map_err(|error| malformed(format!("settings: {error}")))?,
            None => vec![settings_of(&boot)],
        };
        Ok(Self {
            settings,
            boot,
            boot_x: text("boot_x")?,
            public_key: text("public_key")?,
            nonce: text("nonce")?,
            boot_evidence: evidence::read(member("boot_evidence")?)?,
            challenge_evidence: evidence::read(member("challenge_evidence")?)?,
        })
    }
}

fn same_boot(certificate: &BootBinding, answer: &BootBinding) -> Result<String, Finding> {
    if certificate == answer {
        return Ok(certificate.boot_id.to_string());
    }
    let (expected, found) = (format!("boot {}", certificate.boot_id), format!("boot {}", answer.boot_id));
    let found = if expected == found { "other values of the same boot".to_owned() } else { found };
    Err(Finding::new(Reason::BootMismatch, expected, found))
}

fn same_key(certificate: &BootEvidence, answer: &Answer) -> Result<PublicKey, Finding> {
    let (expected, found) = (&certificate.public_key, &answer.public_key);
    let key = PublicKey::from_x(expected).ok().filter(|_| expected == found);
    key.ok_or_else(|| Finding::new(Reason::KeyMismatch, expected, found))
}

fn digest_of_boot(answer: &Answer) -> Result<Digest, Finding> {
    let mismatch = |expected: String| Finding::new(Reason::BootDigestMismatch, expected, &answer.boot_x);
    let x = boot_x(&answer.boot).map_err(|error| mismatch(error.to_string()))?;
    if x.hex() == answer.boot_x { Ok(x) } else { Err(mismatch(x.hex())) }
}

fn same_nonce(answer: &Answer, nonce: &[u8]) -> Result<String, Finding> {
    let sent = b64u::encode(nonce);
    if answer.nonce == sent { Ok(sent) } else { Err(Finding::new(Reason::NonceMismatch, sent, &answer.nonce)) }
}

fn approve(references: &References, boot: &BootBinding, pieces: [&SoftwareEvidence; 3], report: &mut Report) {
    let images = pieces.map(|software| Image::Software { artifact: software.artifact });
    let [.., of_challenge] = &images;
    let strange = images.iter().find(|image| !references.images.contains(image));
    report.rule(
        "image",
        match strange {
            None => Ok(of_challenge.to_string()),
            Some(image) => Err(Finding::new(Reason::ImageNotApproved, one_of(&references.images), image.to_string())),
        },
    );
    for (name, approved, found, reason) in [
        ("config_hash", &references.config_hashes, boot.config_hash, Reason::ConfigNotApproved),
        ("bundle_hash", &references.bundle_hashes, boot.bundle_hash, Reason::BundleNotApproved),
        ("catalog_hash", &references.catalog_hashes, boot.catalog_hash, Reason::CatalogNotApproved),
    ] {
        let finding = || Finding::new(reason, one_of(approved), found.to_string());
        report.rule(name, approved.contains(&found).then(|| found.to_string()).ok_or_else(finding));
    }
}

fn bound_tls_key(key: &Digest, boot: &BootBinding) -> Result<String, Finding> {
    let finding = || Finding::new(Reason::TlsKeyNotBound, one_of(&boot.tls_spki), key.to_string());
    boot.tls_spki.contains(key).then(|| key.to_string()).ok_or_else(finding)
}

/// The approved values, for a report.
fn one_of(values: &[impl ToString]) -> String {
    let texts: Vec<_> = values.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(" or ") }
}
