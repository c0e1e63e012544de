//! The certificate of an attestation key: who vouches that it is a TPM's, and which kind of machine the TPM is part of.

use der::Decode;
use der::asn1::ObjectIdentifier;

use crate::evidence::x509::{Certificate, Path, PublicKey, RootKind, X509Error, build_path};
use crate::evidence::{Check, Material, Mismatch, Report};

/// extKeyUsage, and tcg-kp-AIKCertificate in it: the key of the certificate attests.
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const ATTESTATION_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.3");

/// What follows the VM's id in the common name of a confidential VM's key. A VM with Trusted Launch, which the same CAs vouch
/// for, has `.TrustedVM.`: its vTPM is the hypervisor's, so its host can make it say anything.
const CONFIDENTIAL: [&str; 2] = [".ConfidentialVM.Azure.windows.net", ".ConfidentialVM.Azure.Microsoft"];

/// Who must vouch for the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouching {
    /// Microsoft, as a confidential VM's.
    AzureConfidential,
    /// A CA that the relying party pinned for TPMs; or Microsoft, as a confidential VM's.
    Tpm,
}

/// Judges the certificate of the key that signs a quote. `der` may be padded with zeros, as TPMs keep it.
pub fn appraise(
    der: &[u8],
    key: &PublicKey,
    vouching: Vouching,
    material: &Material<'_>,
    report: &mut Report,
) -> Option<Path> {
    let read = Certificate::from_padded_der(der);
    let certificate = report.read(Check::TpmAkCertificate, "the DER of a certificate, then zeros", read)?;
    report.check(Check::TpmAkCertificate, Ok(certificate.subject()));
    report.check(Check::TpmAkCertificateKey, same_key(&certificate, key));
    report.check(Check::TpmAkUsage, attests(&certificate));
    let path = path(&certificate, vouching, material);
    let path = report.read(Check::TpmAkChain, "a chain to a pinned root for TPMs", path)?;
    report.check(Check::TpmAkChain, Ok(path.shown()));
    if path.root.kind == RootKind::AzureVtpm {
        report.check(Check::TpmAkName, confidential(&certificate));
    }
    report.rely_on(&path.root);
    report.check(Check::TpmAkDates, path.dates(material.at));
    Some(path)
}

fn path(certificate: &Certificate, vouching: Vouching, material: &Material<'_>) -> Result<Path, X509Error> {
    let Material { certificates, anchors, chains, .. } = *material;
    let to = |kind| build_path(certificate, certificates, anchors, kind, chains);
    if vouching == Vouching::Tpm && anchors.of(RootKind::Tpm).next().is_some() {
        return to(RootKind::Tpm).or_else(|error| to(RootKind::AzureVtpm).map_err(|_| error));
    }
    to(RootKind::AzureVtpm)
}

fn same_key(certificate: &Certificate, key: &PublicKey) -> Result<String, Mismatch> {
    match certificate.key() {
        Ok(found) if found == *key => Ok(format!("{} key of the quote", key.shown())),
        Ok(found) => Err(Mismatch::new("the key of the quote", format!("another {} key", found.shown()))),
        Err(error) => Err(Mismatch::new("the key of the quote", error.to_string())),
    }
}

fn attests(certificate: &Certificate) -> Result<String, Mismatch> {
    let usages = certificate.extension(&EXTENDED_KEY_USAGE).and_then(|der| Vec::<ObjectIdentifier>::from_der(der).ok());
    let usages = usages.unwrap_or_default();
    if usages.contains(&ATTESTATION_KEY) {
        return Ok("tcg-kp-AIKCertificate".to_owned());
    }
    let found: Vec<_> = usages.iter().map(ToString::to_string).collect();
    Err(Mismatch::new(format!("{ATTESTATION_KEY} among the extended key usages"), found.join(", ")))
}

fn confidential(certificate: &Certificate) -> Result<String, Mismatch> {
    let name = certificate.common_name().unwrap_or_default();
    let id = CONFIDENTIAL.iter().find_map(|suffix| name.strip_suffix(suffix));
    if id.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return Ok(name);
    }
    Err(Mismatch::new("common name *.ConfidentialVM.Azure.windows.net, of a confidential VM", name))
}
