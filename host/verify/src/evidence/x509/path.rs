//! Paths from a certificate to a pinned root.

use std::collections::HashSet;
use std::sync::Mutex;

use claim::Digest;
use claim::time::Timestamp;
use der::Encode;

use super::{Certificate, X509Error};
use crate::evidence::Mismatch;

/// Most certificates of a pool, and signatures that are tried for a path.
pub(super) const MOST: usize = 64;
/// Most certificates of a path, leaf and root included.
const LONGEST: usize = 6;
/// Signatures that are remembered before all are forgotten.
const REMEMBERED: usize = 4096;

/// What a root vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RootKind {
    /// AMD's ARK of one product: SEV-SNP reports.
    AmdArk,
    /// Intel's SGX root: TDX quotes and their collateral.
    IntelSgx,
    /// Microsoft's: attestation keys of Azure's vTPMs.
    AzureVtpm,
    /// A CA that the relying party named: attestation keys of TPMs.
    Tpm,
}

impl RootKind {
    /// As reference values spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AmdArk => "amd-ark",
            Self::IntelSgx => "intel-sgx",
            Self::AzureVtpm => "azure-vtpm",
            Self::Tpm => "tpm",
        }
    }
}

/// A pinned root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Its certificate.
    pub certificate: Certificate,
    /// What it vouches for.
    pub kind: RootKind,
    /// A root for tests: every verdict that used it says so.
    pub test_only: bool,
}

/// Pinned roots, and intermediates of theirs that need no collateral.
#[derive(Clone, Debug)]
pub struct Anchors {
    anchors: Vec<Anchor>,
    intermediates: Vec<Certificate>,
}

/// AMD's, Intel's and Microsoft's roots.
const ROOTS: [(RootKind, &[u8]); 5] = [
    (RootKind::AmdArk, include_bytes!("../roots/ARK-Milan.der")),
    (RootKind::AmdArk, include_bytes!("../roots/ARK-Genoa.der")),
    (RootKind::AmdArk, include_bytes!("../roots/ARK-Turin.der")),
    (RootKind::IntelSgx, include_bytes!("../roots/Intel-SGX-Root-CA.der")),
    (RootKind::AzureVtpm, include_bytes!("../roots/Azure-Virtual-TPM-Root-2023.der")),
];

/// ASK and ASVK of each product; Microsoft's CAs that certificates of attestation keys do not say where to find.
const INTERMEDIATES: [&[u8]; 8] = [
    include_bytes!("../roots/SEV-Milan.der"),
    include_bytes!("../roots/SEV-Genoa.der"),
    include_bytes!("../roots/SEV-Turin.der"),
    include_bytes!("../roots/SEV-VLEK-Milan.der"),
    include_bytes!("../roots/SEV-VLEK-Genoa.der"),
    include_bytes!("../roots/SEV-VLEK-Turin.der"),
    include_bytes!("../roots/Azure-Cloud-Virtual-TPM-CA-2025.der"),
    include_bytes!("../roots/Azure-Global-Virtual-TPM-CA-03.der"),
];

impl Anchors {
    /// The vendors' roots, and those that the relying party adds.
    ///
    /// # Errors
    /// A certificate in this program that cannot be read, which a test excludes.
    pub fn with(added: Vec<Anchor>) -> Result<Self, X509Error> {
        let mut anchors = added;
        for (kind, der) in ROOTS {
            anchors.push(Anchor { certificate: Certificate::from_der(der)?, kind, test_only: false });
        }
        let intermediates = INTERMEDIATES.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?;
        Ok(Self { anchors, intermediates })
    }

    /// Roots of one kind.
    pub fn of(&self, kind: RootKind) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter().filter(move |anchor| anchor.kind == kind)
    }

    /// Intermediates that are built in.
    pub fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }
}

/// Signatures of certificates that were right once: they stay right, so no claim after the first pays for them. Nothing that
/// depends on time is remembered.
#[derive(Debug, Default)]
pub struct Chains {
    right: Mutex<HashSet<Digest>>,
}

impl Chains {
    fn signed(&self, certificate: &Certificate, issuer: &Certificate) -> Result<(), X509Error> {
        let mut both = certificate.fingerprint().bytes().to_vec();
        both.extend_from_slice(issuer.fingerprint().bytes());
        let both = Digest::of(both);
        if self.right.lock().is_ok_and(|right| right.contains(&both)) {
            return Ok(());
        }
        certificate.signed_by(issuer)?;
        if let Ok(mut right) = self.right.lock() {
            if right.len() >= REMEMBERED {
                right.clear();
            }
            right.insert(both);
        }
        Ok(())
    }
}

/// A path: every signature in it is right, and every certificate above the leaf may issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// From the leaf to the root.
    pub certificates: Vec<Certificate>,
    /// The root.
    pub root: Anchor,
}

impl Path {
    /// That every certificate of it is valid at a time; says until when.
    ///
    /// # Errors
    /// The first that is not.
    pub fn dates(&self, at: Timestamp) -> Result<String, Mismatch> {
        self.certificates.iter().try_for_each(|certificate| certificate.valid_at(at))?;
        let until = self.certificates.iter().map(|certificate| certificate.validity().1).min();
        Ok(until.map_or_else(String::new, |until| format!("until {until}")))
    }

    /// The subjects from the leaf to the root.
    pub fn shown(&self) -> String {
        let name = |certificate: &Certificate| certificate.common_name().unwrap_or_else(|| certificate.subject());
        self.certificates.iter().map(name).collect::<Vec<_>>().join(" <- ")
    }
}

/// A path from a certificate over certificates of a pool, which nobody vouches for, to one of the roots of a kind. Dates are
/// not looked at: [`Path::dates`].
///
/// # Errors
/// [`X509Error::NoPath`], and what is wrong with the leaf.
pub fn build_path(
    leaf: &Certificate,
    pool: &[Certificate],
    anchors: &Anchors,
    kind: RootKind,
    chains: &Chains,
) -> Result<Path, X509Error> {
    if pool.len() > MOST {
        return Err(X509Error::TooMany(pool.len()));
    }
    let mut search = Search { pool, anchors, kind, chains, left: MOST, why: "no certificate of its issuer".into() };
    let mut path = vec![leaf];
    if let Some(root) = search.extend(&mut path) {
        return Ok(Path { certificates: path.into_iter().cloned().collect(), root });
    }
    let roots: Vec<_> = anchors.of(kind).map(|anchor| anchor.certificate.subject()).collect();
    let roots = if roots.is_empty() { format!("a root of kind {}", kind.as_str()) } else { roots.join(" or ") };
    Err(X509Error::NoPath { leaf: leaf.subject(), roots, why: search.why })
}

struct Search<'a> {
    pool: &'a [Certificate],
    anchors: &'a Anchors,
    kind: RootKind,
    chains: &'a Chains,
    left: usize,
    why: String,
}

impl<'a> Search<'a> {
    /// Depth first; `path` ends with the root when there is one.
    fn extend(&mut self, path: &mut Vec<&'a Certificate>) -> Option<Anchor> {
        let last = *path.last()?;
        if let Err(error) = last.check_extensions() {
            self.why = format!("{}: {error}", last.subject());
            return None;
        }
        let anchors = self.anchors;
        for anchor in anchors.of(self.kind) {
            if self.issued(path, last, &anchor.certificate) {
                path.push(&anchor.certificate);
                return Some(anchor.clone());
            }
        }
        if path.len() + 1 >= LONGEST {
            return None;
        }
        for candidate in self.pool.iter().chain(anchors.intermediates()) {
            if !path.contains(&candidate) && self.issued(path, last, candidate) {
                path.push(candidate);
                if let Some(root) = self.extend(path) {
                    return Some(root);
                }
                path.pop();
            }
        }
        None
    }

    /// Whether `issuer` may have, and has, issued the last certificate of a path.
    fn issued(&mut self, path: &[&Certificate], last: &Certificate, issuer: &Certificate) -> bool {
        let name = |name: &x509_cert::name::Name| name.to_der().unwrap_or_default();
        let (wanted, found) = (last.parsed.tbs_certificate().issuer(), issuer.parsed.tbs_certificate().subject());
        if name(wanted) != name(found) {
            return false;
        }
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        let allowed = issuer.may_issue(path.len() - 1);
        let signed = allowed.and_then(|()| self.chains.signed(last, issuer).map_err(|error| error.to_string()));
        match signed {
            Ok(()) => true,
            Err(why) => {
                self.why = format!("{} by {}: {why}", last.subject(), issuer.subject());
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Anchors, Chains, RootKind, build_path};

    #[test]
    fn built_in_intermediates_lead_to_built_in_roots() {
        let anchors = Anchors::with(Vec::new()).unwrap();
        let chains = Chains::default();
        for intermediate in anchors.intermediates() {
            let kind = if intermediate.subject().contains("Advanced Micro Devices") {
                RootKind::AmdArk
            } else {
                RootKind::AzureVtpm
            };
            let path = build_path(intermediate, &[], &anchors, kind, &chains).unwrap();
            assert_eq!(path.certificates.len(), 2);
            let other = if kind == RootKind::AmdArk { RootKind::IntelSgx } else { RootKind::AmdArk };
            assert!(build_path(intermediate, &[], &anchors, other, &chains).is_err());
        }
        for anchor in &anchors.anchors {
            anchor.certificate.signed_by(&anchor.certificate).unwrap();
        }
        assert_eq!(anchors.anchors.len(), 5);
    }
}
