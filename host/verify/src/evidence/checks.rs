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
    EvidencePlatform = "evidence.platform", Genuine, "EVIDENCE_PLATFORM_NOT_JUDGED",
        "The evidence is of a platform that this build can judge.";
    EvidenceSame = "evidence.same_boot", Ours, "EVIDENCE_OF_ANOTHER_BOOT",
        "All evidence is of one boot of one machine: the same attestation key with the same counts of resets and restarts, or the same \
         SNP guest. Otherwise the evidence of another boot, with other software, could stand beside this one's.";
    CollateralFormat = "collateral.format", Current, "COLLATERAL_UNREADABLE",
        "Certificates and lists that came with the evidence can be read. Nothing else is asked of them: each counts for what its \
         signature is worth.";
    BootKey = "boot.key", Ours, "BOOT_KEY_MALFORMED",
        "The boot names an Ed25519 key: the one that signs claims and audit bundles.";
    BootBinding = "boot.binding", Ours, "BOOT_MALFORMED",
        "What the boot says it runs has one canonical spelling, whose hash the hardware signed together with the key's.";
    BootDev = "boot.dev", Ours, "DEV_MODE",
        "The boot is outside dev mode. In dev mode secrets come from the host's environment, and the host can do more than relay.";
    BootSettings = "boot.settings", Ours, "SETTINGS_NOT_OF_BOOT",
        "The list of settings begins with those of the boot. It is in no signature, so it counts only from what was signed.";
    SettingsMeasured = "settings.measured", Ours, "SETTINGS_NOT_MEASURED",
        "PCR 15 of each quote is what the settings up to some entry of the list extend it to, and the boot's at least. A reload that the \
         list leaves out would be in PCR 15.";
    SessionStart = "session.start", Ours, "SESSION_START_MALFORMED",
        "The first entry of the session is one: its members, its hash, number 0, type session_start. Its hash is the root of the chain.";
    SessionBoot = "session.boot", Ours, "SESSION_OF_ANOTHER_BOOT",
        "The first entry names this boot. The hardware signed the entry's hash, so it vouches for all that the boot says it runs.";
    SessionSettings = "session.settings", Ours, "SESSION_SETTINGS_UNKNOWN",
        "Policy bundle, catalog and configuration of the first entry are one of the settings of this boot.";
    SessionEvidence = "session.evidence", Ours, "SESSION_EVIDENCE_MISSING",
        "There is evidence over the root of the session's chain. Without it a chain made up later would pass under the boot's evidence.";
    ApprovedConfig = "approved.config", Ours, "CONFIG_NOT_APPROVED",
        "The configuration is in the reference values. An approved image with another configuration serves other tools to other callers.";
    ApprovedBundle = "approved.bundle", Ours, "BUNDLE_NOT_APPROVED",
        "Every policy bundle that was in force since the boot is in the reference values.";
    ApprovedCatalog = "approved.catalog", Ours, "CATALOG_NOT_APPROVED",
        "The catalog of tools is in the reference values.";
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
