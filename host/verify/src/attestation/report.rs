//! Collects checks into a verdict on a gateway.

use claim::Digest;
use claim::evidence::BootEvidence;
use claim::key::PublicKey;

use super::certificate::Leaf;
use super::{Answer, Boot, Check, Outcome, Reason, Status, Verdict};
use crate::evidence::appraise::Appraisal;

/// What was found wrong in one check.
pub(super) type Finding = crate::verdict::Finding<Reason>;

/// Checks in the order in which they were made.
#[derive(Default)]
pub(super) struct Report {
    reason: Option<Reason>,
    checks: Vec<Check>,
    appraisal: Option<Appraisal>,
}

impl Report {
    /// A check with its own line.
    pub(super) fn rule(&mut self, name: &'static str, result: Result<String, Finding>) {
        let (outcome, expected, actual) = match result {
            Ok(actual) => (Outcome::Pass, String::new(), actual),
            Err(finding) => {
                self.reason.get_or_insert(finding.reason);
                (Outcome::Fail, finding.expected, finding.actual)
            }
        };
        self.checks.push(Check { name, outcome, expected, actual });
    }

    /// Something that later checks need: nothing is judged without it.
    pub(super) fn read<T: Shows>(&mut self, name: &'static str, result: Result<T, Finding>) -> Option<T> {
        let (line, value) = match result {
            Ok(value) => (Ok(value.shown()), Some(value)),
            Err(finding) => (Err(finding), None),
        };
        self.rule(name, line);
        value
    }

    /// Something that is not judged; the verdict says so.
    pub(super) fn open(&mut self, name: &'static str, why: &str) {
        self.checks.push(Check { name, outcome: Outcome::Open, expected: String::new(), actual: why.to_owned() });
    }

    pub(super) fn appraised(&mut self, appraisal: Appraisal) {
        self.appraisal = Some(appraisal);
    }

    pub(super) fn verdict(self, boot: Option<Boot>) -> Verdict {
        let status = match self.reason {
            Some(_) => Status::Unverified,
            None if self.checks.iter().any(|check| check.outcome == Outcome::Open) => Status::PartiallyVerified,
            None => Status::Verified,
        };
        let boot = boot.filter(|_| self.reason.is_none());
        Verdict { status, failure_reason: self.reason, checks: self.checks, boot, appraisal: self.appraisal }
    }
}

/// What a line of the report says of a value that was read.
pub(super) trait Shows {
    fn shown(&self) -> String;
}

impl Shows for Leaf {
    fn shown(&self) -> String {
        format!("{} bytes of evidence", self.evidence.len())
    }
}

impl Shows for BootEvidence {
    fn shown(&self) -> String {
        format!("boot {}", self.boot.boot_id)
    }
}

impl Shows for Answer {
    fn shown(&self) -> String {
        format!("boot {}", self.boot.boot_id)
    }
}

impl Shows for PublicKey {
    fn shown(&self) -> String {
        self.hex()
    }
}

impl Shows for Digest {
    fn shown(&self) -> String {
        self.hex()
    }
}
