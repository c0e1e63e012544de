//! TCB status: what Intel says of a version, and what versions of several components come to.

use std::fmt;

/// What Intel says of a platform's TCB, as a set of what is wrong with it.
///
/// Statuses of components are joined: whatever is wrong with one is wrong with the whole. Intel's library counts only
/// "out of date" and "revoked" of quoting enclave and TDX module; the others weigh here as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcbStatus(u8);

const HARDENING: u8 = 1;
const CONFIGURATION: u8 = 2;
const OUT_OF_DATE: u8 = 4;
/// Out of date at launch, updated since: the TD has to be launched again.
const RELAUNCH: u8 = 8;
const REVOKED: u8 = 16;

/// As Intel spells them (PCS API v4; the last two are Intel's library's, for TDX 1.5).
const NAMES: [(u8, &str); 9] = [
    (0, "UpToDate"),
    (HARDENING, "SWHardeningNeeded"),
    (CONFIGURATION, "ConfigurationNeeded"),
    (CONFIGURATION | HARDENING, "ConfigurationAndSWHardeningNeeded"),
    (OUT_OF_DATE, "OutOfDate"),
    (OUT_OF_DATE | CONFIGURATION, "OutOfDateConfigurationNeeded"),
    (REVOKED, "Revoked"),
    (RELAUNCH, "TDRelaunchAdvised"),
    (RELAUNCH | CONFIGURATION, "TDRelaunchAdvisedConfigurationNeeded"),
];

impl TcbStatus {
    /// The platform's keys are no longer to be believed. No policy accepts it.
    pub const REVOKED: Self = Self(REVOKED);

    /// By Intel's name.
    pub fn parse(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(set, _)| Self(*set))
    }

    /// Intel's names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(_, name)| *name)
    }

    /// Intel's name.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(set, _)| *set == self.0).map_or("Revoked", |(_, name)| name)
    }

    /// A status that Intel's documents give; "relaunch" only follows from two of them.
    pub(super) fn of_document(name: &str) -> Option<Self> {
        Self::parse(name).filter(|status| status.0 & RELAUNCH == 0)
    }

    /// What is wrong with either.
    pub(super) const fn join(self, other: Self) -> Self {
        let set = self.0 | other.0;
        let set = if set & (OUT_OF_DATE | RELAUNCH) != 0 { set & !HARDENING } else { set };
        let set = if set & OUT_OF_DATE != 0 { set & !RELAUNCH } else { set };
        if set & REVOKED != 0 { Self::REVOKED } else { Self(set) }
    }

    /// Of a TD that was launched with a TCB of status `self` and runs with one of status `now`.
    pub(super) const fn after_update(self, now: Self) -> Self {
        let updated = self.0 & OUT_OF_DATE != 0 && now.0 & (OUT_OF_DATE | REVOKED) == 0;
        let launch = if updated { Self(self.0 & !OUT_OF_DATE | RELAUNCH) } else { self };
        launch.join(now)
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{NAMES, TcbStatus};

    fn status(name: &str) -> TcbStatus {
        TcbStatus::parse(name).unwrap()
    }

    #[test]
    fn every_join_has_a_name_and_is_no_better_than_its_parts() {
        for (left, _) in NAMES {
            for (right, _) in NAMES {
                let (left, right) = (TcbStatus(left), TcbStatus(right));
                for joined in [left.join(right), left.after_update(right)] {
                    assert!(NAMES.iter().any(|(set, _)| *set == joined.0), "{left} {right} {joined:?}");
                    let fine = left == status("UpToDate") && right == status("UpToDate");
                    assert_eq!(joined == status("UpToDate"), fine, "{left} {right}");
                }
                let revoked = left == TcbStatus::REVOKED || right == TcbStatus::REVOKED;
                assert_eq!(left.join(right) == TcbStatus::REVOKED, revoked);
            }
        }
    }

    /// The tables of Intel's library (convergeTcbStatuses, checkForRelaunch).
    #[test]
    fn components_join_as_in_intels_library() {
        for (platform, component, joined) in [
            ("UpToDate", "OutOfDate", "OutOfDate"),
            ("SWHardeningNeeded", "OutOfDate", "OutOfDate"),
            ("ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
            ("ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
            ("OutOfDateConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
            ("ConfigurationNeeded", "Revoked", "Revoked"),
            ("SWHardeningNeeded", "UpToDate", "SWHardeningNeeded"),
        ] {
            assert_eq!(status(platform).join(status(component)).as_str(), joined);
        }
        for (launch, now, after) in [
            ("OutOfDate", "UpToDate", "TDRelaunchAdvised"),
            ("OutOfDate", "SWHardeningNeeded", "TDRelaunchAdvised"),
            ("OutOfDate", "ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
            ("OutOfDateConfigurationNeeded", "UpToDate", "TDRelaunchAdvisedConfigurationNeeded"),
            ("OutOfDate", "OutOfDate", "OutOfDate"),
            ("OutOfDate", "Revoked", "Revoked"),
            ("ConfigurationNeeded", "UpToDate", "ConfigurationNeeded"),
        ] {
            assert_eq!(status(launch).after_update(status(now)).as_str(), after);
        }
    }

    #[test]
    fn documents_cannot_say_relaunch() {
        assert_eq!(TcbStatus::of_document("TDRelaunchAdvised"), None);
        assert_eq!(TcbStatus::of_document("Fine"), None);
        assert_eq!(TcbStatus::of_document("OutOfDate").map(TcbStatus::as_str), Some("OutOfDate"));
    }
}
