//! Evidence that a claim carries itself, in the layouts of deployed verifiers: judged as far as it goes. It never names the
//! configuration or the boot, and of a vTPM never the PCRs by which an image is known; the attachment does.

use claim::Digest;
use claim::attachment::Collateral;
use claim::json::{self, Json};
use claim::profile::TaggedDigest;

use super::rules::View;
use crate::evidence::appraise::{Appraisal, NO_REFERENCES, Standard, measurement, readable};
use crate::evidence::hcl;
use crate::evidence::tpm::{self, Attest, Vouching};
use crate::evidence::x509::{Anchors, Certificate, Crl, PublicKey};
use crate::evidence::{Check, Material, Mismatch, Report, snp};
use crate::references::{self, Platforms};
use crate::shape;

/// What to do about what a claim alone cannot show.
const ATTACH: &str = "only the claim's attachment shows it: get GET /session/ID/evidence and give it with --attachment";

/// Platforms whose evidence is judged.
const JUDGED: [&str; 4] = ["amd-sev-snp", "azure-cvm-sev-snp", "intel-tdx", "tpm2"];

/// Whether evidence of the claim's platform can be judged at all.
pub(super) fn is_judged(claim: &View<'_>) -> bool {
    JUDGED.contains(&claim.text(&["trace", "runtime", "platform"]))
}

/// Judges the evidence in a claim of a hardware platform.
pub(super) fn appraise(claim: &View<'_>, collateral: Option<&Collateral>, standard: &Standard<'_>) -> Appraisal {
    let (mut appraisal, mut report) = (Appraisal::default(), Report::default());
    let platform = claim.text(&["trace", "runtime", "platform"]);
    if let Some(own) = Own::new(claim, collateral, standard, &mut report) {
        match platform {
            "amd-sev-snp" => own.snp(&mut report),
            "azure-cvm-sev-snp" => own.azure(&mut report),
            "tpm2" => own.tpm(&mut report),
            // In a claim there is a TDREPORT at most, which nobody signed.
            _ => report.open(Check::EvidencePlatform, ATTACH),
        }
    }
    for check in [Check::BootBinding, Check::SessionStart, Check::ApprovedConfig] {
        report.open(check, ATTACH);
    }
    appraisal.add("evidence in the claim", report);
    appraisal
}

/// The claim's evidence, and what it is judged with.
struct Own<'a> {
    claim: &'a View<'a>,
    standard: &'a Standard<'a>,
    anchors: Anchors,
    platforms: Platforms,
    certificates: Vec<Certificate>,
    crls: Vec<Crl>,
    binding: Option<[u8; 64]>,
}

impl<'a> Own<'a> {
    fn new(
        claim: &'a View<'a>,
        collateral: Option<&Collateral>,
        standard: &'a Standard<'a>,
        report: &mut Report,
    ) -> Option<Self> {
        let platforms = standard.references.map(|references| references.platforms.clone()).unwrap_or_default();
        let anchors = references::anchors(standard.references);
        let anchors = anchors.map_err(|error| report.open(Check::EvidencePlatform, error.to_string())).ok()?;
        let chain = claim.evidence("cert_chain");
        let mut certificates = chain.map_or_else(Vec::new, |pem| in_pem(&pem, report));
        let (given, crls) = collateral.map_or_else(Default::default, |collateral| readable(collateral, report));
        certificates.extend(given);
        let binding = claim.binding().and_then(|binding| binding.try_into().ok());
        Some(Self { claim, standard, anchors, platforms, certificates, crls, binding })
    }

    fn material<'b>(&'b self, certificates: &'b [Certificate]) -> Material<'b> {
        let Standard { chains, at, .. } = *self.standard;
        Material { certificates, crls: &self.crls, anchors: &self.anchors, chains, at }
    }

    /// The bytes that the platform signed.
    fn raw(&self, missing: Check, report: &mut Report) -> Option<Vec<u8>> {
        let raw = self.claim.evidence("raw_evidence");
        if raw.is_none() {
            report.open(missing, ATTACH);
        }
        raw
    }

    fn snp(&self, report: &mut Report) {
        let Some(raw) = self.raw(Check::SnpFormat, report) else { return };
        let (material, policy) = (self.material(&self.certificates), &self.platforms.sev_snp);
        let Some(found) = snp::appraise(&raw, self.binding.as_ref(), &material, policy, report) else { return };
        self.measured(measurement::launch(&found.measurement), report);
        match self.standard.references {
            Some(references) => snp::approved(&found, &references.images, report),
            None => report.open(Check::SnpMeasurement, NO_REFERENCES),
        }
    }

    /// Who made the report and the quote; of what the quote is over, only what it is for.
    fn azure(&self, report: &mut Report) {
        let Some(raw) = self.raw(Check::HclFormat, report) else { return };
        let read = Envelope::parse(&raw);
        let Some(envelope) = report.read(Check::HclFormat, "an envelope of report, claims and quote", read) else {
            return;
        };
        let mut certificates = self.certificates.clone();
        certificates.extend(in_pem(&envelope.vcek_chain, report));
        let bound = hcl::bound_to(&envelope.runtime_data);
        let (material, policy) = (self.material(&certificates), &self.platforms.sev_snp);
        let found = snp::appraise(&envelope.snp_report, Some(&bound), &material, policy, report);
        if let Some(found) = found {
            self.measured(measurement::launch(&found.measurement), report);
        }
        let claims = hcl::Claims::parse(&envelope.runtime_data);
        let expected = "runtime claims with the RSA key HCLAkPub";
        if let Some(claims) = report.read(Check::HclClaims, expected, claims) {
            let qualifying = self.binding.map(|binding| tpm::qualifying_data(&binding).to_vec());
            quote(&envelope.quote_msg, &envelope.quote_sig, &claims.ak, qualifying, report);
        }
        report.open(Check::PcrImage, ATTACH);
    }

    fn tpm(&self, report: &mut Report) {
        let Some(raw) = self.raw(Check::TpmAttest, report) else { return };
        let leaf = self.certificates.first();
        let key = leaf.and_then(|leaf| leaf.key().ok());
        let (Some(leaf), Some(key)) = (leaf, key) else {
            let expected = "a certificate of the attestation key";
            report.check(Check::TpmAkVouched, Err::<String, _>(Mismatch::new(expected, "none in cert_chain")));
            return;
        };
        tpm::appraise_certificate(leaf.der(), &key, Vouching::Tpm, &self.material(&self.certificates), report);
        let signature = self.claim.evidence("quote_signature").unwrap_or_default();
        let thumbprint = self.binding.and_then(|binding| binding.get(..32).map(<[u8]>::to_vec));
        if let Some(attest) = quote(&raw, &signature, &key, thumbprint, report) {
            let digest: Option<[u8; 32]> = attest.pcr_digest.try_into().ok();
            self.measured(
                digest.map_or(TaggedDigest::ZERO, |digest| TaggedDigest::Sha256(Digest::from_bytes(digest))),
                report,
            );
        }
        report.open(Check::PcrImage, ATTACH);
    }

    fn measured(&self, found: TaggedDigest, report: &mut Report) {
        let stated = self.claim.text(&["trace", "runtime", "measurement"]);
        let same = TaggedDigest::parse(stated).is_ok_and(|stated| stated == found);
        let finding = if same { Ok(stated) } else { Err(Mismatch::new(found.to_string(), stated)) };
        report.check(Check::ClaimMeasurement, finding);
    }
}

/// Who signed a quote, and what for.
fn quote(
    message: &[u8],
    signature: &[u8],
    key: &PublicKey,
    qualifying: Option<Vec<u8>>,
    report: &mut Report,
) -> Option<Attest> {
    let attest = tpm::read(message, report)?;
    let signed = tpm::signed(message, signature, key, report);
    // Without a binding the claim fails for that.
    if let Some(qualifying) = qualifying {
        report.check(Check::TpmNonce, tpm::qualified(&attest, &qualifying));
    }
    signed.then_some(attest)
}

/// The certificates of a PEM text; what is none is said and left out.
fn in_pem(pem: &[u8], report: &mut Report) -> Vec<Certificate> {
    let read = Certificate::from_file(pem);
    read.map_err(|error| report.open(Check::CollateralFormat, format!("cert_chain: {error}"))).unwrap_or_default()
}

/// The deployed layout for Azure.
pub(super) struct Envelope {
    pub(super) snp_report: Vec<u8>,
    pub(super) runtime_data: Vec<u8>,
    pub(super) quote_msg: Vec<u8>,
    pub(super) quote_sig: Vec<u8>,
    pub(super) vcek_chain: Vec<u8>,
}

impl Envelope {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let json = json::parse(bytes).map_err(|error| error.to_string())?;
        let member = |name: &str| {
            let text = json.get(name).and_then(Json::as_str).ok_or_else(|| format!("no {name}"))?;
            shape::evidence_bytes(text).ok_or_else(|| format!("{name} is no base64"))
        };
        Ok(Self {
            snp_report: member("snp_report")?,
            runtime_data: member("runtime_data")?,
            quote_msg: member("quote_msg")?,
            quote_sig: member("quote_sig")?,
            vcek_chain: member("vcek_chain_pem").unwrap_or_default(),
        })
    }
}
