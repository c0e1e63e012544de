//! One piece of evidence, by its type.

use claim::attachment::Collateral;
use claim::b64u;
use claim::binding::{binding, boot_x};
use claim::evidence::{AzureEvidence, Evidence, SETTINGS_PCR, SnpEvidence, SoftwareEvidence, TdxEvidence, TpmEvidence};
use claim::profile::{Platform, TaggedDigest};
use claim::{Digest, hex};

use super::{Piece, Standard, Subject, measurement};
use crate::evidence::azure::{self, Paravisor};
use crate::evidence::snp::CertificateTable;
use crate::evidence::tpm::pcrs::{self, PcrPolicy};
use crate::evidence::tpm::{self, Attest};
use crate::evidence::x509::{Anchors, Certificate, Crl};
use crate::evidence::{Check, Material, Mismatch, Report, snp, tdx};
use crate::references::{Image, Platforms};

/// What to do about missing approved values.
pub(crate) const NO_REFERENCES: &str = "no reference values: write the file of what you approve (docs/verification.md) and give it with \
                                        --reference FILE or CMCP_REFERENCE_VALUES";

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// [`Piece::name`].
    pub(crate) of: &'static str,
    /// Which machine: equal exactly if it is the same, as far as evidence of this type tells.
    pub(crate) instance: String,
    /// PCR 15, if there are PCRs.
    pub(crate) settings_pcr: Option<[u8; 32]>,
    /// As claims name it.
    pub(crate) platform: Platform,
    /// As claims name it.
    pub(crate) measurement: TaggedDigest,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        subject: &'a Subject<'a>,
        standard: &'a Standard<'a>,
        anchors: &'a Anchors,
        report: &mut Report,
    ) -> Self {
        let (certificates, crls) = subject.collateral.map_or_else(Default::default, |it| readable(it, report));
        let platforms = standard.references.map(|references| references.platforms.clone()).unwrap_or_default();
        Self { subject, standard, anchors, certificates, crls, platforms }
    }

    /// Judges it; what it says, if it could be read.
    pub(super) fn piece(&self, piece: &Piece<'_>, report: &mut Report) -> Option<Seen> {
        let bound = binding(&self.subject.key.thumbprint(), &piece.x);
        match piece.evidence {
            Evidence::Software(software) => self.software(piece.name, software, &bound, report),
            Evidence::Azure(azure) => self.azure(piece.name, azure, &bound, report),
            Evidence::Tpm(tpm) => self.tpm(piece.name, tpm, &bound, report),
            Evidence::SevSnp(snp) => self.snp(piece.name, snp, &bound, report),
            Evidence::Tdx(tdx) => self.tdx(piece.name, tdx, &bound, report),
        }
    }

    fn azure(&self, of: &'static str, evidence: &AzureEvidence, bound: &[u8; 64], report: &mut Report) -> Option<Seen> {
        let boot = boot_x(self.subject.boot).map(|x| binding(&self.subject.key.thumbprint(), &x)).ok();
        let collateral = self.subject.collateral;
        let subject = azure::Subject {
            evidence,
            boot: boot.as_ref(),
            binding: Some(bound),
            td_quote: collateral.and_then(|it| it.td_quote.as_ref()).map(|quote| quote.0.as_slice()),
            tdx: collateral.and_then(|it| it.tdx.as_ref()),
        };
        let found = azure::appraise(&subject, &self.material(), &self.platforms, report)?;
        let values = &evidence.quote.pcrs.0;
        pcrs::appraise(values, &self.pcr_policy(), report);
        let platform = match found.paravisor {
            Paravisor::Snp(_) => Platform::AzureCvmSevSnp,
            Paravisor::Tdx { .. } => Platform::IntelTdx,
        };
        Some(of_tpm(of, &found.attest, values, platform, measurement::launch(found.paravisor.launch_digest())))
    }

    fn snp(&self, of: &'static str, evidence: &SnpEvidence, bound: &[u8; 64], report: &mut Report) -> Option<Seen> {
        let mut certificates = self.certificates.clone();
        if let Some(table) = &evidence.certificates {
            match CertificateTable::parse(&table.0) {
                Ok(table) => certificates.extend(table.certificates.iter().flat_map(|der| Certificate::from_der(der))),
                Err(error) => unreadable(report, "the report's certificates", &error),
            }
        }
        let material = Material { certificates: &certificates, ..self.material() };
        let found = snp::appraise(&evidence.report.0, Some(bound), &material, &self.platforms.sev_snp, report)?;
        match self.images() {
            Some(images) => snp::approved(&found, images, report),
            None => report.open(Check::SnpMeasurement, NO_REFERENCES),
        }
        Some(Seen {
            of,
            instance: format!("SNP guest {}", hex::encode(&found.report_id)),
            settings_pcr: None,
            platform: Platform::AmdSevSnp,
            measurement: measurement::launch(&found.measurement),
        })
    }

    fn tdx(&self, of: &'static str, evidence: &TdxEvidence, bound: &[u8; 64], report: &mut Report) -> Option<Seen> {
        let collateral = self.subject.collateral.and_then(|collateral| collateral.tdx.as_ref());
        let (material, policy) = (self.material(), &self.platforms.tdx);
        let found = tdx::appraise(&evidence.quote.0, Some(bound), collateral, false, &material, policy, report)?;
        match self.images() {
            Some(images) => tdx::approved(&found, images, report),
            None => report.open(Check::TdxImage, NO_REFERENCES),
        }
        let [rtmr0, rtmr1, rtmr2, _] = found.rtmr.map(|register| hex::encode(&register));
        Some(Seen {
            of,
            instance: format!("TD {} {rtmr0} {rtmr1} {rtmr2}", hex::encode(&found.mr_td)),
            settings_pcr: None,
            platform: Platform::IntelTdx,
            measurement: measurement::launch(&found.mr_td),
        })
    }

    fn tpm(&self, of: &'static str, evidence: &TpmEvidence, bound: &[u8; 64], report: &mut Report) -> Option<Seen> {
        let attest = tpm::appraise_evidence(evidence, bound, &self.material(), report)?;
        let values = &evidence.quote.pcrs.0;
        pcrs::appraise(values, &self.pcr_policy(), report);
        Some(of_tpm(of, &attest, values, Platform::Tpm2, measurement::firmware(values)))
    }

    fn software(
        &self,
        of: &'static str,
        evidence: &SoftwareEvidence,
        bound: &[u8; 64],
        report: &mut Report,
    ) -> Option<Seen> {
        if !self.standard.software {
            report.check(Check::EvidenceType, Err::<String, _>(Mismatch::new("evidence by hardware", "software")));
            return None;
        }
        report.open(Check::EvidenceType, "evidence by hardware: nothing but the process itself vouches for this");
        report.check(Check::SoftwareBinding, self.signed(evidence, bound));
        match self.images() {
            Some(images) => drop(report.check(Check::SoftwareImage, program(&evidence.artifact, images))),
            None => report.open(Check::SoftwareImage, NO_REFERENCES),
        }
        Some(Seen {
            of,
            instance: format!("program {}", evidence.artifact),
            settings_pcr: None,
            platform: Platform::SoftwareOnly,
            measurement: TaggedDigest::ZERO,
        })
    }

    fn signed(&self, evidence: &SoftwareEvidence, bound: &[u8; 64]) -> Result<String, Mismatch> {
        if b64u::decode_array(&evidence.binding) != Some(*bound) {
            return Err(Mismatch::new(b64u::encode(bound), &evidence.binding));
        }
        let key = &self.subject.key;
        let signed = key.verify_software_evidence(bound, &evidence.signature);
        signed.map(|()| key.hex()).map_err(|error| Mismatch::new(format!("signed by {}", key.hex()), error.to_string()))
    }

    fn material(&self) -> Material<'_> {
        Material {
            certificates: &self.certificates,
            crls: &self.crls,
            anchors: self.anchors,
            chains: self.standard.chains,
            at: self.standard.at,
        }
    }

    fn images(&self) -> Option<&'a [Image]> {
        self.standard.references.map(|references| references.images.as_slice())
    }

    fn pcr_policy(&self) -> PcrPolicy<'a> {
        PcrPolicy { images: self.images(), event_log: self.subject.event_log }
    }
}

fn of_tpm(
    of: &'static str,
    attest: &Attest,
    pcrs: &pcrs::Values,
    platform: Platform,
    measurement: TaggedDigest,
) -> Seen {
    let instance = format!("TPM, {}", attest.boot());
    let settings_pcr = pcrs.get(SETTINGS_PCR).copied();
    Seen { of, instance, settings_pcr, platform, measurement }
}

fn program(artifact: &Digest, images: &[Image]) -> Result<String, Mismatch> {
    let approved = |image: &Image| matches!(image, Image::Software { artifact: approved } if approved == artifact);
    if images.iter().any(approved) {
        return Ok(artifact.to_string());
    }
    let programs: Vec<_> = images.iter().filter(|image| matches!(image, Image::Software { .. })).collect();
    let expected: Vec<_> = programs.iter().map(ToString::to_string).collect();
    Err(Mismatch::new(expected.join(" or "), artifact.to_string()))
}

/// Certificates and lists of revoked ones. What cannot be read is said and left out: the host could as well have left it out.
pub(crate) fn readable(collateral: &Collateral, report: &mut Report) -> (Vec<Certificate>, Vec<Crl>) {
    let (mut certificates, mut crls) = (Vec::new(), Vec::new());
    for (index, der) in collateral.certificates.iter().enumerate() {
        match Certificate::from_der(&der.0) {
            Ok(certificate) => certificates.push(certificate),
            Err(error) => unreadable(report, &format!("collateral.certificates[{index}]"), &error),
        }
    }
    for (index, der) in collateral.crls.iter().enumerate() {
        match Crl::from_der(&der.0) {
            Ok(crl) => crls.push(crl),
            Err(error) => unreadable(report, &format!("collateral.crls[{index}]"), &error),
        }
    }
    (certificates, crls)
}

fn unreadable(report: &mut Report, what: &str, error: &impl ToString) {
    let error = error.to_string();
    report.open(Check::CollateralFormat, format!("{what}: {error}; get it again, or leave it out"));
}
