//! Sensitivity labels of tools and sessions, and the compliance domains that calls touch.
//!
//! Both are small closed vocabularies, so a set of them is a number: joining is one `or`, and a session's set is copied
//! into every decision without an allocation.

use std::fmt;

/// Sensitivity of what a tool returns or a session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Label {
    /// Nothing to protect.
    Public = 0,
    /// Personal data.
    Pii = 1,
    /// Confidential to the company.
    Confidential = 2,
    /// Protected health information.
    HipaaPhi = 3,
    /// Material non-public information.
    Mnpi = 4,
    /// Trade secrets.
    TradeSecret = 5,
}

impl Label {
    /// Every label, by rank and then by name.
    pub const ALL: [Self; 6] =
        [Self::Public, Self::Pii, Self::Confidential, Self::HipaaPhi, Self::Mnpi, Self::TradeSecret];

    /// The name in catalogs, policies and claims.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Pii => "pii",
            Self::Confidential => "confidential",
            Self::HipaaPhi => "hipaa_phi",
            Self::Mnpi => "mnpi",
            Self::TradeSecret => "trade_secret",
        }
    }

    /// The label of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.as_str() == name)
    }

    /// Order of sensitivity; the last three share a rank.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Public => 0,
            Self::Pii => 1,
            Self::Confidential => 2,
            Self::HipaaPhi | Self::Mnpi | Self::TradeSecret => 3,
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A set of labels that holds at least [`Label::Public`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Labels(u8);

impl Labels {
    /// What a session starts with.
    pub const PUBLIC: Self = Self(Label::Public.bit());

    /// This label and `public`.
    pub const fn of(label: Label) -> Self {
        Self(Self::PUBLIC.0 | label.bit())
    }

    /// Everything that either set holds. A session's labels only ever grow.
    #[must_use]
    pub const fn join(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set holds this label.
    pub const fn contains(self, label: Label) -> bool {
        self.0 & label.bit() != 0
    }

    /// The labels, by rank and then by name.
    pub fn iter(self) -> impl Iterator<Item = Label> {
        Label::ALL.into_iter().filter(move |label| self.contains(*label))
    }

    /// The labels that share the highest rank: never empty, more than one only among equals.
    pub fn top(self) -> impl Iterator<Item = Label> {
        let rank = self.max().rank();
        self.iter().filter(move |label| label.rank() == rank)
    }

    /// The label that stands for the set in a claim: of the highest rank, among equals the first by name.
    pub fn max(self) -> Label {
        let higher = |best: Label, next: Label| if next.rank() > best.rank() { next } else { best };
        self.iter().fold(Label::Public, higher)
    }

    /// The whole set as one number, for tables with one place per set.
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// The set of this number; bits of no label are dropped.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self((bits | Self::PUBLIC.0) & ((1 << Label::ALL.len()) - 1))
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::PUBLIC
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter().map(Label::as_str)).finish()
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        labels.into_iter().fold(Self::PUBLIC, |set, label| set.join(Self::of(label)))
    }
}

/// Which body of rules governs what a tool handles; a call into another domain after a regulated one is a
/// cross-boundary event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Domain {
    /// Outside the company.
    External = 0,
    /// Protected health information under HIPAA.
    HipaaPhi = 1,
    /// Inside the company.
    Internal = 2,
    /// Material non-public information.
    Mnpi = 3,
    /// Payment card data.
    PciData = 4,
    /// Personal data.
    Pii = 5,
    /// Public data.
    Public = 6,
}

impl Domain {
    /// Every domain, by name.
    pub const ALL: [Self; 7] =
        [Self::External, Self::HipaaPhi, Self::Internal, Self::Mnpi, Self::PciData, Self::Pii, Self::Public];

    /// The name in catalogs, policies and claims.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::HipaaPhi => "hipaa_phi",
            Self::Internal => "internal",
            Self::Mnpi => "mnpi",
            Self::PciData => "pci_data",
            Self::Pii => "pii",
            Self::Public => "public",
        }
    }

    /// The domain of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|domain| domain.as_str() == name)
    }

    /// Whether leaving this domain for another one is worth an event.
    pub const fn regulated(self) -> bool {
        matches!(self, Self::HipaaPhi | Self::Mnpi | Self::PciData | Self::Pii)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A set of domains.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Domains(u8);

impl Domains {
    /// No domain touched yet.
    pub const NONE: Self = Self(0);

    /// This set with one more domain.
    #[must_use]
    pub const fn with(self, domain: Domain) -> Self {
        Self(self.0 | (1 << domain as u8))
    }

    /// Whether the set holds this domain.
    pub const fn contains(self, domain: Domain) -> bool {
        self.0 & (1 << domain as u8) != 0
    }

    /// The domains, by name.
    pub fn iter(self) -> impl Iterator<Item = Domain> {
        Domain::ALL.into_iter().filter(move |domain| self.contains(*domain))
    }

    /// The whole set as one number, for tables with one place per set.
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// The set of this number; bits of no domain are dropped.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits & ((1 << Domain::ALL.len()) - 1))
    }
}

impl fmt::Debug for Domains {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter().map(Domain::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Domain, Domains, Label, Labels};

    fn any_labels() -> impl Strategy<Value = Labels> {
        proptest::sample::subsequence(Label::ALL.to_vec(), 0..=6).prop_map(Labels::from_iter)
    }

    proptest! {
        #[test]
        fn join_is_a_semilattice(a in any_labels(), b in any_labels(), c in any_labels()) {
            prop_assert_eq!(a.join(b), b.join(a));
            prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
            prop_assert_eq!(a.join(a), a);
            prop_assert_eq!(a.join(Labels::PUBLIC), a);
        }

        #[test]
        fn joining_never_lowers(a in any_labels(), b in any_labels()) {
            let joined = a.join(b);
            prop_assert!(joined.max().rank() == a.max().rank().max(b.max().rank()));
            prop_assert!(a.iter().chain(b.iter()).all(|label| joined.contains(label)));
            prop_assert!(joined.iter().all(|label| a.contains(label) || b.contains(label)));
        }

        #[test]
        fn top_is_exactly_the_highest_rank(a in any_labels()) {
            let top: Vec<_> = a.top().collect();
            prop_assert!(!top.is_empty());
            prop_assert!(top.contains(&a.max()));
            let highest = a.iter().map(Label::rank).max();
            prop_assert!(a.iter().all(|label| top.contains(&label) == (Some(label.rank()) == highest)));
        }
    }

    #[test]
    fn ties_keep_all_and_the_first_stands_for_them() {
        let tied = Labels::of(Label::TradeSecret).join(Labels::of(Label::Mnpi)).join(Labels::of(Label::Pii));
        assert_eq!(tied.top().collect::<Vec<_>>(), [Label::Mnpi, Label::TradeSecret]);
        assert_eq!(tied.max(), Label::Mnpi);
    }

    #[test]
    fn names_round_trip() {
        assert!(Label::ALL.into_iter().all(|label| Label::parse(label.as_str()) == Some(label)));
        assert!(Domain::ALL.into_iter().all(|domain| Domain::parse(domain.as_str()) == Some(domain)));
        assert_eq!(Label::parse("PII"), None);
        assert!(Domain::ALL.is_sorted_by_key(|domain| domain.as_str()));
    }

    #[test]
    fn domains_are_a_set_in_order_of_name() {
        let both = Domains::NONE.with(Domain::Pii).with(Domain::External).with(Domain::Pii);
        assert_eq!(both.iter().collect::<Vec<_>>(), [Domain::External, Domain::Pii]);
        assert!(!both.contains(Domain::Mnpi));
    }
}
