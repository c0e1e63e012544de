//! Every check on evidence: its name, the question it answers, the one reason for which it fails, and why it is made.

/// What evidence is asked. The answers are never merged: "genuine, but not ours" is a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// Did hardware of this vendor make it, in a state in which its promises hold?
    Genuine,
    /// Was that hardware up to date, and what vouches for it valid, at the time in question?
    Current,
    /// Is it about the approved image and settings, and bound to this key, session or challenge?
    Ours,
}

impl Question {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 3] = [Self::Genuine, Self::Current, Self::Ours];

    /// One word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Genuine => "genuine",
            Self::Current => "current",
            Self::Ours => "ours",
        }
    }
}

/// Declares the checks: `Variant = "id", Question, "REASON", "explanation";`.
macro_rules! checks {
    ($($variant:ident = $id:literal, $question:ident, $reason:literal, $explain:literal;)+) => {
        /// One check on evidence.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Check {
            $(#[doc = $explain] $variant,)+
        }

        impl Check {
            /// Every check there is, in the order of docs/verification.md.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name: stable across releases.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)+ }
            }

            /// What it answers.
            pub const fn question(self) -> Question {
                match self { $(Self::$variant => Question::$question,)+ }
            }

            /// Why evidence is refused that fails it.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$variant => $reason,)+ }
            }

            /// What it shows, and what somebody could do without it.
            pub const fn explain(self) -> &'static str {
                match self { $(Self::$variant => $explain,)+ }
            }
        }
    };
}

checks! {
    EvidenceType = "evidence.type", Genuine, "EVIDENCE_TYPE_NOT_HARDWARE",
        "The evidence is of hardware. Software evidence is a process's word about itself, which any other process can say.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Check;

    #[test]
    fn names_and_reasons_are_of_one_check_each() {
        let ids: BTreeSet<_> = Check::ALL.iter().map(|check| check.id()).collect();
        let reasons: BTreeSet<_> = Check::ALL.iter().map(|check| check.reason()).collect();
        assert_eq!((ids.len(), reasons.len()), (Check::ALL.len(), Check::ALL.len()));
    }
}
