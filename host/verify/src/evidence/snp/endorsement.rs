//! The certificate of the key that signed (AMD publication 57230, VCEK and VLEK certificates): which of many it is, and
//! what it says of its chip.

use claim::hex;
use der::Decode;
use der::asn1::{Ia5StringRef, ObjectIdentifier, OctetStringRef};

use super::attestation_report::{AttestationReport, RawTcb, SigningKey};
use super::product::Product;
use crate::evidence::x509::Certificate;

/// Holds an extension for each number of a TCB version.
const TCB: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3");
const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const PROVIDER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");

/// Last numbers of the extensions for the eight bytes of a TCB version: 1 boot loader, 2 TEE, 3 SNP, 8 microcode, 9 FMC, the
/// others are of reserved bytes.
const fn tcb_numbers(product: Product) -> [u32; 8] {
    match product {
        Product::Milan | Product::Genoa => [1, 2, 4, 5, 6, 7, 3, 8],
        Product::Turin => [9, 1, 2, 3, 5, 6, 7, 8],
    }
}

impl SigningKey {
    /// Common name of the key's certificate.
    pub(super) const fn common_name(self) -> &'static str {
        match self {
            Self::Vcek => "SEV-VCEK",
            Self::Vlek => "SEV-VLEK",
        }
    }

    /// Common name of who certifies the key.
    pub(super) fn issuer(self, product: Product) -> String {
        match self {
            Self::Vcek => format!("SEV-{product}"),
            Self::Vlek => format!("SEV-VLEK-{product}"),
        }
    }
}

/// A certificate of a VCEK or VLEK.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endorsement<'a> {
    pub(super) certificate: &'a Certificate,
    pub(super) key: SigningKey,
}

impl<'a> Endorsement<'a> {
    /// The certificate for a report: of all of its kind the one that fits, else any of its kind, to be refused by name.
    pub(super) fn find(report: &AttestationReport, key: SigningKey, certificates: &'a [Certificate]) -> Option<Self> {
        let named = |certificate: &&Certificate| certificate.common_name().as_deref() == Some(key.common_name());
        let of_kind = || certificates.iter().filter(named).map(|certificate| Self { certificate, key });
        of_kind().find(|found| found.fits(report)).or_else(|| of_kind().next())
    }

    fn fits(&self, report: &AttestationReport) -> bool {
        let tcb = self.product().and_then(|product| self.tcb(product));
        tcb == Ok(report.reported_tcb) && self.chip() == Ok(report.chip_id)
    }

    /// The line of processors.
    pub(super) fn product(&self) -> Result<Product, String> {
        let value = self.certificate.extension(&PRODUCT_NAME).ok_or("no product name")?;
        let name =
            Ia5StringRef::from_der(value).map_err(|error| format!("a product name that cannot be read: {error}"))?;
        Product::of_name(name.as_str()).ok_or_else(|| format!("product {:?}", name.as_str()))
    }

    /// The TCB that the key is for. A number that is not there is not zero.
    pub(super) fn tcb(&self, product: Product) -> Result<RawTcb, String> {
        let mut tcb = [0; 8];
        for (byte, number) in tcb.iter_mut().zip(tcb_numbers(product)) {
            let id = TCB.push_arc(number).map_err(|error| error.to_string())?;
            let value = self.certificate.extension(&id).ok_or_else(|| format!("no extension {id}"))?;
            *byte = u8::from_der(value).map_err(|error| format!("extension {id}: {error}"))?;
        }
        Ok(RawTcb(tcb))
    }

    /// What a report by this key carries as its chip: a VCEK's chip, filled up with zeros; zeros for a VLEK, which is of
    /// no chip.
    pub(super) fn chip(&self) -> Result<[u8; 64], String> {
        match (self.key, self.certificate.extension(&HARDWARE_ID)) {
            (SigningKey::Vcek, Some(value)) => chip(value).ok_or_else(|| format!("a chip of {} bytes", value.len())),
            (SigningKey::Vcek, None) => Err("no chip".to_owned()),
            (SigningKey::Vlek, None) => Ok([0; 64]),
            (SigningKey::Vlek, Some(_)) => Err("a VLEK of one chip".to_owned()),
        }
    }

    /// For a VLEK, the cloud provider that it is of.
    pub(super) fn provider(&self) -> Option<String> {
        let value = self.certificate.extension(&PROVIDER)?;
        Ia5StringRef::from_der(value).ok().map(|name| name.as_str().to_owned())
    }
}

/// 64 bytes, or Turin's 8: as they are, or within an OCTET STRING.
fn chip(value: &[u8]) -> Option<[u8; 64]> {
    let bytes = match value.len() {
        64 | 8 => value,
        _ => <&OctetStringRef>::from_der(value).ok()?.as_bytes(),
    };
    let mut chip = [0; 64];
    let size = matches!(bytes.len(), 64 | 8).then_some(bytes.len())?;
    chip.get_mut(..size)?.copy_from_slice(bytes);
    Some(chip)
}

/// Where AMD gives the certificate for a report, for whom it is missing.
pub(super) fn where_to_get(report: &AttestationReport, key: SigningKey) -> String {
    let (SigningKey::Vcek, Some(product)) = (key, report.product()) else {
        return format!("the certificate of the {} (GHCB table, THIM or the provider)", key.common_name());
    };
    let tcb = report.reported_tcb.of(product);
    let fmc = tcb.fmc.map(|fmc| format!("fmcSPL={fmc:02}&")).unwrap_or_default();
    let size = if product == Product::Turin { 8 } else { 64 };
    let chip = hex::encode(report.chip_id.get(..size).unwrap_or_default());
    format!(
        "https://kdsintf.amd.com/vcek/v1/{product}/{chip}?{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
        tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
    )
}
