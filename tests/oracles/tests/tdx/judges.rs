//! Both verifiers, and whether they say the same.

use std::cell::RefCell;
use std::collections::BTreeSet;

use claim::json::{Json, parse};
use claim::time::Timestamp;
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::configs::RustCryptoConfig;
use dcap_qvl::verify::QuoteVerifier;
use verify::Outcome;
use verify::evidence::x509::{Anchor, Anchors, Chains};
use verify::evidence::{Check, Line, Material, Question, Report, tdx};
use verify::references::TdxPolicy;

/// A quote with all that it is judged by.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub quote: Vec<u8>,
    /// As bytes: neither verifier is given what the other has read.
    pub collateral: Vec<u8>,
    pub at: Timestamp,
}

/// The verifiers, with the roots that they pin.
pub struct Judges {
    anchors: Anchors,
    theirs: QuoteVerifier<RustCryptoConfig>,
    pub chains: Chains,
    used: RefCell<BTreeSet<&'static str>>,
}

/// How TCB statuses compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// They are the same.
    Equal,
    /// Intel's library, and so theirs, passes over what is wrong with quoting enclave, TDX module and the TCB that runs now, if
    /// it is neither out of date nor revoked. Ours does not.
    OursWorse,
}
use Statuses::{Equal, OursWorse};

/// Whether a difference explains a line of ours.
type Explains = fn(&Case, &Line) -> bool;

/// Where ours refuses and `dcap-qvl` does not: the check, which of its lines, and why.
pub const STRICTER: &[(Check, Explains, &str)] = &[
    (
        Check::TdxTeeType,
        |_, line| says(line, "TEE type 0x0"),
        "its callers have to look whether the quote is of an SGX enclave",
    ),
    (Check::TdxQuote, |_, line| says(line, "after the quote"), "it passes over whatever follows the quote"),
    (
        Check::TdxQuote,
        |_, line| says(line, "too many"),
        "it passes over what is left of signature and certification data",
    ),
    (
        Check::TdxQuote,
        |_, line| says(line, "certification data of type"),
        "it reads a quoting enclave's report out of any type",
    ),
    (Check::TdxPckChain, |_, line| says(line, " <- "), "it takes any CA below the root for a PCK CA"),
    (
        Check::TdxPckChain,
        |_, line| says(line, "not DER of"),
        "it passes over certificates of a chain that it does not need",
    ),
    (
        Check::TdxCollateral,
        |_, line| says(line, "not DER of"),
        "it passes over certificates of a chain that it does not need",
    ),
    (
        Check::TdxPckChain,
        |case, _| other_pck_chain(case),
        "it takes the PCK chain of the collateral, whatever the quote's is",
    ),
    (Check::TdxAttestationKey, |_, _| true, "it compares the hash alone, not the zeros after it"),
    (
        Check::TdxAttributes,
        |_, _| true,
        "it accepts Key Locker, provisioning agents of TDX Connect, and bits without a name",
    ),
    (
        Check::TdxServiceTd,
        |_, _| true,
        "it trusts the attribute SERVTD_EXT to say whether an extended report names service TDs",
    ),
    (Check::TdxPlatform, |_, line| says(line, "PCEID"), "it compares FMSPC, but not PCEID"),
    (Check::TdxCrlDates, of_the_future, "it takes lists that are not issued yet"),
];

/// Where `dcap-qvl` refuses and ours does not: part of its message, in which cases, and why.
pub const LOOSER: &[(&str, fn(&Case) -> bool, &str)] = &[
    (
        "SEPT_VE_DISABLE is not enabled",
        |_| true,
        "Azure's paravisor on DCedsv5 takes #VE itself, and the policy for Azure says so; elsewhere ours refuses it too",
    ),
    ("Failed to parse certs", |_| true, "ours reads the certificates of a chain, and nothing around them"),
    (
        "",
        other_pck_chain,
        "ours takes the PCK certificate that is in the quote, and not the one that the collateral adds",
    ),
];

impl Judges {
    /// With Intel's root.
    pub fn of_intel() -> Self {
        Self::new(Vec::new(), QuoteVerifier::new_prod())
    }

    /// With a root for tests.
    pub fn of(root: Anchor) -> Self {
        let der = root.certificate.der().to_vec();
        Self::new(vec![root], QuoteVerifier::new(der))
    }

    fn new(added: Vec<Anchor>, theirs: QuoteVerifier) -> Self {
        let theirs = theirs.with_config();
        let anchors = Anchors::with(added).unwrap();
        Self { anchors, theirs, chains: Chains::default(), used: RefCell::default() }
    }

    /// Ours.
    pub fn ours(&self, case: &Case, azure: bool, policy: &TdxPolicy) -> Report {
        let mut report = Report::default();
        self.appraise(case, azure, policy, &mut report);
        report
    }

    /// What a quote says.
    pub fn quote(&self, case: &Case, azure: bool) -> Option<tdx::Quote> {
        self.appraise(case, azure, &TdxPolicy::default(), &mut Report::default())
    }

    fn appraise(&self, case: &Case, azure: bool, policy: &TdxPolicy, report: &mut Report) -> Option<tdx::Quote> {
        let material =
            Material { certificates: &[], crls: &[], anchors: &self.anchors, chains: &self.chains, at: case.at };
        let json = parse(&case.collateral).unwrap_or(Json::Null);
        tdx::appraise(&case.quote, None, Some(&json), azure, &material, policy, report)
    }

    /// Theirs: status and advisories, or the refusal.
    pub fn theirs(&self, case: &Case) -> Result<(String, Vec<String>), String> {
        let collateral: QuoteCollateralV3 =
            serde_json::from_slice(&case.collateral).map_err(|error| error.to_string())?;
        let at = u64::try_from(case.at.seconds()).map_err(|error| error.to_string())?;
        let report = self.theirs.verify(&case.quote, &collateral, at).map_err(|error| format!("{error:#}"))?;
        let mut advisories = report.advisory_ids;
        advisories.sort_unstable();
        Ok((report.status, advisories))
    }

    /// Judges by both and demands the same of signatures, chains, revocations, dates, attributes and TCB status, but for what
    /// the tables above explain. Tells whether it was accepted.
    pub fn agree(&self, case: &Case, azure: bool) -> bool {
        self.agree_up_to(case, azure, Equal)
    }

    /// As [`Self::agree`], where ours may call the TCB worse.
    pub fn agree_up_to(&self, case: &Case, azure: bool, statuses: Statuses) -> bool {
        let ours = self.ours(case, azure, &TdxPolicy::default());
        let theirs = self.theirs(case);
        let failed: Vec<&Line> = ours.lines().iter().filter(|line| refuses(line)).collect();
        let asked = |line: &&Line| line.check.question() != Question::Ours;
        let open = ours.lines().iter().filter(asked).any(|line| line.outcome == Outcome::Open);
        match (failed.as_slice(), &theirs) {
            ([], Ok((judged, advisories))) => {
                assert!(!open, "{}: {ours:#?}", case.name);
                self.same_tcb(case, &ours, judged, advisories, statuses);
            }
            ([], Err(_)) if open => {}
            ([], Err(error)) => {
                let explained = LOOSER.iter().find(|(message, when, _)| error.contains(message) && when(case));
                let (message, ..) = explained.unwrap_or_else(|| panic!("{}: only theirs refuses: {error}", case.name));
                self.used.borrow_mut().insert(message);
            }
            (failed, Ok(_)) => {
                let explained = |line: &&&Line| {
                    STRICTER.iter().any(|(check, explains, _)| *check == line.check && explains(case, line))
                };
                if let Some(line) = failed.iter().find(|line| !explained(line)) {
                    panic!("{}: only ours refuses: {line:?}", case.name);
                }
                self.used.borrow_mut().extend(failed.iter().map(|line| line.check.id()));
            }
            (_, Err(_)) => {}
        }
        failed.is_empty() && !open
    }

    /// The same status and advisories; a report of TDX 1.5 has ours add those of what runs now.
    fn same_tcb(&self, case: &Case, ours: &Report, status: &str, advisories: &[String], statuses: Statuses) {
        let found_status = found(ours, Check::TdxTcbStatus);
        match statuses {
            Equal => assert_eq!(found_status, status, "{}", case.name),
            OursWorse => assert!(found_status == status || found_status != "UpToDate", "{}: {status}", case.name),
        }
        let known = found(ours, Check::TdxAdvisories);
        let mut known: Vec<_> = known.split(", ").filter(|advisory| *advisory != "none").collect();
        if case.quote[0] == 5 {
            known.retain(|advisory| advisories.iter().any(|theirs| theirs == advisory));
        }
        assert_eq!(known, advisories, "{}", case.name);
    }

    /// That each of these differences arose.
    pub fn differed(&self, expected: &[&'static str]) {
        assert_eq!(*self.used.borrow(), expected.iter().copied().collect());
    }
}

/// Policy is ours alone, and dcap-qvl leaves it to its callers.
fn refuses(line: &Line) -> bool {
    let policy = matches!(line.check, Check::TdxTcbStatus | Check::TdxAdvisories) && line.actual != "Revoked";
    line.outcome == Outcome::Fail && line.check.question() != Question::Ours && !policy
}

fn says(line: &Line, part: &str) -> bool {
    line.actual.contains(part) || line.expected.contains(part)
}

/// The quote holds a chain, and the collateral another one.
fn other_pck_chain(case: &Case) -> bool {
    let json = parse(&case.collateral).unwrap();
    let added = json.get("pck_certificate_chain").and_then(Json::as_str).unwrap_or_default();
    let begin = b"-----BEGIN";
    let at = case.quote.windows(begin.len()).position(|window| window == begin).unwrap_or(case.quote.len());
    let own = String::from_utf8_lossy(&case.quote[at..]);
    !added.is_empty() && added.trim() != own.trim_end_matches('\0').trim()
}

fn of_the_future(case: &Case, line: &Line) -> bool {
    let issued = line.actual.strip_prefix("of ").and_then(|text| text.split(',').next());
    issued.is_some_and(|issued| Timestamp::parse(issued).unwrap() > case.at)
}

/// What a check found.
pub fn found(report: &Report, check: Check) -> String {
    let line = report.lines().iter().rfind(|line| line.check == check);
    line.map(|line| line.actual.clone()).unwrap_or_default()
}
