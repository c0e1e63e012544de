//! The three answers on evidence, for people and for scripts: what `evidence` and the commands for its steps print.

use std::io::{self, Write};

use claim::time::Timestamp;
use serde_json::{Map, Value, json};

use super::{CliError, Exit, input, table};
use crate::evidence::appraise::{Appraisal, Part};
use crate::evidence::{Answer, Check, Line, Question, Report};
use crate::verdict::Outcome;

/// Options that all of these commands have.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Style {
    /// Judge as of this time instead of now, for archived evidence
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    pub(super) at: Option<Timestamp>,
    /// Print the answers as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Say of every check what it shows, and what could be done without it
    #[arg(long)]
    pub(super) explain: bool,
}

/// Answers on some evidence.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    /// What was judged, such as `SEV-SNP report report.bin`.
    pub(super) subject: String,
    /// What is asked of it; of other questions nothing is said. All of [`Question::ALL`] for a whole attachment.
    pub(super) asked: Vec<Question>,
    /// What it says of itself, by name: shown, not judged.
    pub(super) says: Vec<(&'static str, String)>,
    /// The checks. A report of one thing is one part.
    pub(super) parts: Vec<Part>,
    /// The time at which was judged.
    pub(super) at: Timestamp,
}

impl Answers {
    /// Writes them, and tells the exit code.
    pub(super) fn write(&self, style: Style, out: &mut dyn Write) -> Result<Exit, CliError> {
        if style.json {
            writeln!(out, "{:#}", self.json(style.explain))?;
        } else {
            self.print(style.explain, out)?;
        }
        Ok(self.exit())
    }

    fn report(&self) -> Report {
        together(&self.parts)
    }

    /// Anything wrong refuses, whichever question it belongs to.
    fn exit(&self) -> Exit {
        let report = self.report();
        if report.reason().is_some() {
            return Exit::Unverified;
        }
        let yes = self.asked.iter().all(|question| report.answer(*question) == Answer::Yes);
        if yes { Exit::Verified } else { Exit::NotJudged }
    }

    fn result(&self) -> &'static str {
        match self.exit() {
            Exit::Verified => "verified",
            Exit::Unverified => "refused",
            _ => "not judged",
        }
    }

    fn print(&self, explain: bool, out: &mut dyn Write) -> io::Result<()> {
        let report = self.report();
        writeln!(out, "{}, judged at {}", table::printable(&self.subject), self.at.to_seconds_z())?;
        three(out, &report, &self.asked)?;
        for (name, text) in &self.says {
            writeln!(out, "  {name}: {}", table::printable(text))?;
        }
        for part in &self.parts {
            lines(out, part, explain)?;
        }
        missing(out, &report, &self.asked)?;
        test_roots(out, report.test_roots())?;
        match report.reason() {
            Some(reason) => writeln!(out, "RESULT: {} ({reason})", self.result()),
            None => writeln!(out, "RESULT: {}", self.result()),
        }
    }

    fn json(&self, explain: bool) -> Value {
        let report = self.report();
        let says: Map<_, _> =
            self.says.iter().map(|(name, text)| ((*name).to_owned(), Value::from(text.as_str()))).collect();
        let mut value = answers_json(&report, &self.parts, &self.asked, explain);
        if let Some(members) = value.as_object_mut() {
            members.insert("subject".to_owned(), self.subject.as_str().into());
            members.insert("at".to_owned(), self.at.to_string().into());
            members.insert("result".to_owned(), self.result().replace(' ', "_").into());
            members.insert("failure_reason".to_owned(), report.reason().into());
            members.insert("says".to_owned(), says.into());
        }
        value
    }
}

/// The answers on a claim's evidence, between its other checks and its verdict.
pub(super) fn print(out: &mut dyn Write, appraisal: &Appraisal, explain: bool) -> io::Result<()> {
    let report = appraisal.report();
    for part in &appraisal.parts {
        lines(out, part, explain)?;
    }
    writeln!(out, "evidence")?;
    three(out, &report, &Question::ALL)?;
    missing(out, &report, &Question::ALL)?;
    test_roots(out, report.test_roots())
}

/// The same for scripts.
pub(super) fn json(appraisal: &Appraisal) -> Value {
    answers_json(&appraisal.report(), &appraisal.parts, &Question::ALL, false)
}

fn together(parts: &[Part]) -> Report {
    let mut report = Report::default();
    for part in parts {
        report.append(part.report.clone());
    }
    report
}

/// Answers, checks and test-only roots, for scripts.
pub(super) fn answers_json(report: &Report, parts: &[Part], asked: &[Question], explain: bool) -> Value {
    let answers: Map<_, _> = Question::ALL
        .iter()
        .map(|question| {
            let answer = if asked.contains(question) { word(report.answer(*question)) } else { "not_asked" };
            (question.as_str().to_owned(), answer.into())
        })
        .collect();
    let lines = parts.iter().flat_map(|part| part.report.lines().iter().map(|line| (part.name, line)));
    let checks: Vec<_> = lines.map(|(part, line)| line_json(part, line, explain)).collect();
    json!({"answers": answers, "checks": checks, "test_only_roots": report.test_roots()})
}

fn line_json(part: &str, line: &Line, explain: bool) -> Value {
    let outcome = match line.outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Open => "not_judged",
    };
    let mut value = json!({
        "of": part,
        "name": line.check.id(),
        "question": line.check.question().as_str(),
        "outcome": outcome,
        "expected": line.expected,
        "found": line.actual,
    });
    if let Some(members) = value.as_object_mut().filter(|_| explain) {
        members.insert("explanation".to_owned(), line.check.explain().into());
    }
    value
}

const fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Yes => "yes",
        Answer::No => "no",
        Answer::Open => "not_judged",
    }
}

/// The three lines that are for everybody.
fn three(out: &mut dyn Write, report: &Report, asked: &[Question]) -> io::Result<()> {
    for question in Question::ALL {
        let (answer, sentence) = if asked.contains(&question) {
            let answer = report.answer(question);
            (answer.as_str(), sentence(question, answer))
        } else {
            ("not asked", "")
        };
        writeln!(out, "{}", format!("  {:8} {answer:11} {sentence}", question.as_str()).trim_end())?;
    }
    Ok(())
}

const fn sentence(question: Question, answer: Answer) -> &'static str {
    match (question, answer) {
        (Question::Genuine, Answer::Yes) => {
            "Hardware of a known vendor signed this, in a state in which its promises hold."
        }
        (Question::Genuine, Answer::No) => "Nothing shows that protected hardware made this; its operator could have.",
        (Question::Genuine, Answer::Open) => "Whether protected hardware made this could not be judged.",
        (Question::Current, Answer::Yes) => {
            "The hardware's security level and all certificates were good at that time."
        }
        (Question::Current, Answer::No) => "Something was out of date, expired or revoked at that time.",
        (Question::Current, Answer::Open) => "Whether the hardware was up to date could not be judged.",
        (Question::Ours, Answer::Yes) => "It runs what you approved, and is about this very key and session.",
        (Question::Ours, Answer::No) => "It runs something you did not approve, or is about another key or session.",
        (Question::Ours, Answer::Open) => "Whether it runs what you approved could not be judged.",
    }
}

/// One line a check, under a heading.
pub(super) fn lines(out: &mut dyn Write, part: &Part, explain: bool) -> io::Result<()> {
    writeln!(out, "{}", part.name)?;
    for line in part.report.lines() {
        table::line(out, line.check.id(), line.outcome, &line.actual, &line.expected)?;
        if explain {
            writeln!(out, "      {}: {}", line.check.question().as_str(), line.check.explain())?;
        }
    }
    Ok(())
}

/// What keeps an answer from being yes although nothing is wrong.
pub(super) fn missing(out: &mut dyn Write, report: &Report, asked: &[Question]) -> io::Result<()> {
    let mut told: Vec<(Check, &str)> = Vec::new();
    for line in report.lines() {
        let open = line.outcome == Outcome::Open && asked.contains(&line.check.question());
        if open && !told.iter().any(|(_, text)| *text == line.actual) {
            told.push((line.check, &line.actual));
        }
    }
    if !told.is_empty() {
        writeln!(out, "Missing:")?;
    }
    for (check, text) in told {
        writeln!(out, "  {} ({}): {}", check.question().as_str(), check.id(), table::printable(text))?;
    }
    Ok(())
}

/// Roots that vouch for nothing outside of tests.
fn test_roots(out: &mut dyn Write, roots: &[String]) -> io::Result<()> {
    roots.iter().try_for_each(|root| {
        let root = table::printable(root);
        writeln!(
            out,
            "TEST ONLY: rests on {root}, which your reference values mark test_only. Not evidence of hardware."
        )
    })
}
