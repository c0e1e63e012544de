//! One piece of evidence, by its type.

use claim::evidence::Evidence;

use super::{Piece, Standard, Subject};
use crate::evidence::x509::{Anchors, Certificate, Crl};
use crate::evidence::{Check, Mismatch, Report};
use crate::references::Platforms;

/// What all pieces are judged with.
pub(super) struct Judge<'a> {
    subject: &'a Subject<'a>,
    standard: &'a Standard<'a>,
    anchors: &'a Anchors,
    certificates: Vec<Certificate>,
    crls: Vec<Crl>,
    platforms: Platforms,
}

/// What a piece of evidence says of the machine that it is of.
pub(super) struct Seen {
    /// Which boot of which machine: equal exactly if it is the same, as far as evidence of this type tells.
    pub(super) instance: String,
    /// PCR 15, if there are PCRs.
    pub(super) settings_pcr: Option<[u8; 32]>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        subject: &'a Subject<'a>,
        standard: &'a Standard<'a>,
        anchors: &'a Anchors,
        report: &mut Report,
    ) -> Self {
        let collateral = subject.collateral;
        let (mut certificates, mut crls) = (Vec::new(), Vec::new());
        for (index, der) in collateral.iter().flat_map(|collateral| &collateral.certificates).enumerate() {
            match Certificate::from_der(&der.0) {
                Ok(certificate) => certificates.push(certificate),
                Err(error) => unreadable(report, "certificates", index, &error),
            }
        }
        for (index, der) in collateral.iter().flat_map(|collateral| &collateral.crls).enumerate() {
            match Crl::from_der(&der.0) {
                Ok(crl) => crls.push(crl),
                Err(error) => unreadable(report, "crls", index, &error),
            }
        }
        let platforms = standard.references.map(|references| references.platforms.clone()).unwrap_or_default();
        Self { subject, standard, anchors, certificates, crls, platforms }
    }

    /// Judges it; what it says, if it could be read.
    pub(super) fn piece(&self, piece: &Piece<'_>, report: &mut Report) -> Option<Seen> {
        match piece.evidence {
            Evidence::Software(_) => not_hardware(report),
            Evidence::Azure(_) => not_yet("azure", report),
            Evidence::Tpm(_) => not_yet("tpm", report),
            Evidence::SevSnp(_) => not_yet("sev-snp", report),
            Evidence::Tdx(_) => not_yet("tdx", report),
        }
    }
}

fn not_yet(found: &str, report: &mut Report) -> Option<Seen> {
    report.check(Check::EvidencePlatform, Err::<String, _>(Mismatch::new("a platform of this build", found)));
    None
}

fn not_hardware(report: &mut Report) -> Option<Seen> {
    report.check(Check::EvidenceType, Err::<String, _>(Mismatch::new("evidence by hardware", "software")));
    None
}

fn unreadable(report: &mut Report, list: &str, index: usize, error: &impl ToString) {
    let error = error.to_string();
    report.open(Check::CollateralFormat, format!("collateral.{list}[{index}]: {error}; get it again, or leave it out"));
}
