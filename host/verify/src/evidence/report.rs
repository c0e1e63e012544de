//! Lines, and what they come to.

use super::x509::Anchor;
use super::{Check, Question};
use crate::verdict::Outcome;

/// What was found is not what should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub actual: String,
}

impl Mismatch {
    /// Both in words.
    pub fn new(expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { expected: expected.into(), actual: actual.into() }
    }
}

/// One check that was made, or could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which.
    pub check: Check,
    /// How it ended.
    pub outcome: Outcome,
    /// What should be there; empty where there is no one value.
    pub expected: String,
    /// What is there; for what was not judged, what is missing and what to do.
    pub actual: String,
}

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every check was made and is right.
    Yes,
    /// A check failed.
    No,
    /// Nothing failed, but a check could not be made, or none was.
    Open,
}

impl Answer {
    /// One word for tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "NO",
            Self::Open => "not judged",
        }
    }
}

/// The lines of an appraisal in the order in which they arose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    lines: Vec<Line>,
    test_roots: Vec<String>,
}

impl Report {
    /// Adds a check that was made, and tells whether it is right.
    pub fn check(&mut self, check: Check, result: Result<impl Into<String>, Mismatch>) -> bool {
        let (outcome, expected, actual) = match result {
            Ok(actual) => (Outcome::Pass, String::new(), actual.into()),
            Err(mismatch) => (Outcome::Fail, mismatch.expected, mismatch.actual),
        };
        self.lines.push(Line { check, outcome, expected, actual });
        outcome == Outcome::Pass
    }

    /// Adds what all that follows needs: its value, or nothing after a line that says why.
    pub fn read<T, E: ToString>(&mut self, check: Check, expected: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.check(check, Err::<String, _>(Mismatch::new(expected, error.to_string())))).ok()
    }

    /// Adds a check that could not be made: what is missing, and what to do.
    pub fn open(&mut self, check: Check, missing: impl Into<String>) {
        let actual = missing.into();
        self.lines.push(Line { check, outcome: Outcome::Open, expected: String::new(), actual });
    }

    /// Remembers a root on which the answers rest, if it is one for tests: every verdict that used it names it.
    pub fn rely_on(&mut self, root: &Anchor) {
        if root.test_only {
            let certificate = &root.certificate;
            self.remember(format!("{} {} ({})", root.kind.as_str(), certificate.fingerprint(), certificate.subject()));
        }
    }

    fn remember(&mut self, root: String) {
        if !self.test_roots.contains(&root) {
            self.test_roots.push(root);
        }
    }

    /// Roots for tests on which the answers rest.
    pub fn test_roots(&self) -> &[String] {
        &self.test_roots
    }

    /// Adds all lines of another.
    pub fn append(&mut self, other: Self) {
        self.lines.extend(other.lines);
        other.test_roots.into_iter().for_each(|root| self.remember(root));
    }

    /// What was checked.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The answer to a question.
    pub fn answer(&self, question: Question) -> Answer {
        let outcomes = self.lines.iter().filter(|line| line.check.question() == question).map(|line| line.outcome);
        outcomes.fold(None, |answer, outcome| Some(worse(answer, outcome))).unwrap_or(Answer::Open)
    }

    /// Why it is refused: the reason of the first check that failed.
    pub fn reason(&self) -> Option<&'static str> {
        self.lines.iter().find(|line| line.outcome == Outcome::Fail).map(|line| line.check.reason())
    }
}

const fn worse(answer: Option<Answer>, outcome: Outcome) -> Answer {
    match (answer, outcome) {
        (Some(Answer::No), _) | (_, Outcome::Fail) => Answer::No,
        (Some(Answer::Open), _) | (_, Outcome::Open) => Answer::Open,
        (_, Outcome::Pass) => Answer::Yes,
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Mismatch, Report};
    use crate::evidence::{Check, Question};

    #[test]
    fn one_failure_outweighs_everything_and_nothing_asked_is_no_yes() {
        let mut report = Report::default();
        assert_eq!(report.answer(Question::Genuine), Answer::Open);
        report.check(Check::EvidenceType, Ok("tpm"));
        assert_eq!(report.answer(Question::Genuine), Answer::Yes);
        assert_eq!(report.answer(Question::Ours), Answer::Open);
        report.open(Check::EvidenceType, "collateral");
        assert_eq!((report.answer(Question::Genuine), report.reason()), (Answer::Open, None));
        report.check(Check::EvidenceType, Err::<String, _>(Mismatch::new("hardware", "software")));
        report.check(Check::EvidenceType, Ok("tpm"));
        assert_eq!(report.answer(Question::Genuine), Answer::No);
        assert_eq!(report.reason(), Some(Check::EvidenceType.reason()));
    }
}
