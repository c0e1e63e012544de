//! Patterns: one linear pass over the text says which of them match.

use regex::bytes::{RegexSet, RegexSetBuilder};
use wire::{BootRefusal, Document, RefusalCode};

use super::settings::{Action, Detector, Injection};
use crate::document::refusal;
use crate::labels::{Label, Labels};
use crate::limits;

/// All patterns of a bundle as one automaton.
#[derive(Debug)]
pub(super) struct Patterns {
    set: RegexSet,
    /// By pattern: the rule that it belongs to.
    owners: Vec<usize>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    means: Means,
}

/// What it means that a rule's pattern matches.
#[derive(Clone, Copy, Debug)]
enum Means {
    Label(Label),
    Injection(Action),
}

/// What matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Matches<'p> {
    pub(super) labels: Labels,
    /// Names of detectors.
    pub(super) detectors: Vec<&'p str>,
    /// Names of injection rules.
    pub(super) injections: Vec<&'p str>,
    /// Whether one of them denies.
    pub(super) denied: bool,
}

impl Patterns {
    pub(super) fn compile(
        detectors: &[Detector],
        injections: &[Injection],
        document: &Document,
    ) -> Result<Self, BootRefusal> {
        let labelled = detectors.iter().map(|rule| (rule.name.clone(), Means::Label(rule.label)));
        let denied = injections.iter().map(|rule| (rule.name.clone(), Means::Injection(rule.action)));
        let rules = labelled.chain(denied).map(|(name, means)| Rule { name, means }).collect();
        let lists = detectors.iter().map(|rule| &rule.patterns).chain(injections.iter().map(|rule| &rule.patterns));
        let owners = lists.clone().enumerate().flat_map(|(rule, list)| list.iter().map(move |_| rule)).collect();
        let set = build(lists.flatten()).map_err(|error| too_large(document, &error))?;
        Ok(Self { set, owners, rules })
    }

    /// Rules in the bundle's order, each once.
    pub(super) fn matches(&self, text: &str) -> Matches<'_> {
        let mut found = Matches::default();
        let mut last = None;
        for pattern in &self.set.matches(text.as_bytes()) {
            let owner = self.owners.get(pattern).copied();
            if owner == std::mem::replace(&mut last, owner) {
                continue;
            }
            let Some(rule) = owner.and_then(|owner| self.rules.get(owner)) else { continue };
            match rule.means {
                Means::Label(label) => {
                    found.labels = found.labels.join(Labels::of(label));
                    found.detectors.push(&rule.name);
                }
                Means::Injection(action) => {
                    found.denied |= action == Action::Deny;
                    found.injections.push(&rule.name);
                }
            }
        }
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

/// `\w`, `\d`, `\s`, `\b` and case are ASCII's: Unicode's word boundary alone would cost an attacker's text the fast automaton.
pub(super) fn build<'a>(patterns: impl Iterator<Item = &'a String>) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(patterns)
        .unicode(false)
        .size_limit(limits::MAX_PATTERN_BYTES)
        .dfa_size_limit(limits::PATTERN_CACHE)
        .nest_limit(limits::MAX_PATTERN_NESTING)
        .build()
}

fn too_large(document: &Document, error: &regex::Error) -> BootRefusal {
    let expected = format!("patterns that compile to at most {} bytes together", limits::MAX_PATTERN_BYTES);
    refusal(RefusalCode::Unsupported, document, "inspection", &error.to_string(), &expected)
}
