//! AMD's key distribution service: the certificate of the key that signed an SNP report, its issuers, and what they revoked.

use super::http::Http;
use super::{Collateral, der};
use crate::report::hex;

/// AMD's own.
pub(super) const KDS: &str = "https://kdsintf.amd.com";

/// Fetches what goes with an SNP report.
pub(super) fn report(http: &Http, kds: &str, report: &[u8], found: &mut Collateral) {
    match Report::read(report) {
        Some(report) => report.fetch(http, kds, found),
        None => found.missing.push("the evidence has no SNP report".to_owned()),
    }
}

/// What a report says of the key that signed it. Offsets: SEV-SNP ABI specification 1.58, table 23.
struct Report<'a> {
    tcb: &'a [u8; 8],
    chip: &'a [u8; 64],
    /// Family and model; reports before version 3 have none.
    processor: Option<(u8, u8)>,
    vlek: bool,
}

/// What AMD calls a family of processors, and how it counts their TCB.
struct Product {
    name: &'static str,
    /// Names and places of the parts of a TCB version.
    tcb: &'static [(&'static str, usize)],
    /// How much of the chip's id is one.
    chip: usize,
}

const MILAN: Product = Product { name: "Milan", tcb: &ZEN3, chip: 64 };
const GENOA: Product = Product { name: "Genoa", tcb: &ZEN3, chip: 64 };
const TURIN: Product = Product { name: "Turin", tcb: &ZEN5, chip: 8 };
const ZEN3: [(&str, usize); 4] = [("blSPL", 0), ("teeSPL", 1), ("snpSPL", 6), ("ucodeSPL", 7)];
const ZEN5: [(&str, usize); 5] = [("fmcSPL", 0), ("blSPL", 1), ("teeSPL", 2), ("snpSPL", 3), ("ucodeSPL", 7)];

impl<'a> Report<'a> {
    fn read(report: &'a [u8]) -> Option<Self> {
        let version = u32::from_le_bytes(*report.first_chunk()?);
        let processor = (*report.get(0x188)?, *report.get(0x189)?);
        Some(Self {
            tcb: report.get(0x180..)?.first_chunk()?,
            chip: report.get(0x1a0..)?.first_chunk()?,
            processor: (version >= 3).then_some(processor),
            vlek: report.get(0x48)? >> 2 & 7 == 1,
        })
    }

    /// The products that it may be of.
    fn products(&self) -> &'static [Product] {
        match self.processor {
            Some((0x19, 0x00..=0x0f)) => &[MILAN],
            Some((0x19, _)) => &[GENOA],
            Some((0x1a, _)) => &[TURIN],
            // Nothing newer makes reports of version 2.
            _ => &[MILAN, GENOA],
        }
    }

    fn fetch(&self, http: &Http, kds: &str, found: &mut Collateral) {
        let mut missing = Vec::new();
        for product in self.products() {
            match self.key(http, kds, product) {
                Ok(certificate) => {
                    found.certificates.extend(certificate);
                    return self.issuers(http, kds, product, found);
                }
                Err(error) => missing.push(format!("VCEK of {}: {error}", product.name)),
            }
        }
        found.missing.append(&mut missing);
    }

    /// The certificate of the chip's key; that of a VLEK is its holder's to give.
    fn key(&self, http: &Http, kds: &str, product: &Product) -> Result<Option<Vec<u8>>, String> {
        if self.vlek {
            return Ok(None);
        }
        let chip = hex(self.chip.get(..product.chip).unwrap_or_default());
        let part =
            |(name, place): &(&str, usize)| format!("{name}={}", self.tcb.get(*place).copied().unwrap_or_default());
        let tcb = product.tcb.iter().map(part).collect::<Vec<_>>().join("&");
        let certificate = http.get(&format!("{kds}/vcek/v1/{}/{chip}?{tcb}", product.name), &[])?.body;
        if der::is_certificate(&certificate) { Ok(Some(certificate)) } else { Err("not a certificate".to_owned()) }
    }

    fn issuers(&self, http: &Http, kds: &str, product: &Product, found: &mut Collateral) {
        let kind = if self.vlek { "vlek" } else { "vcek" };
        let base = format!("{kds}/{kind}/v1/{}", product.name);
        let chain = http.get(&format!("{base}/cert_chain"), &[]).and_then(|answer| der::certificates(&answer.body));
        let chain = found.take("ASK and ARK", chain).unwrap_or_default();
        found.certificates.extend(chain);
        let crl = http.get(&format!("{base}/crl"), &[]).map(|answer| answer.body);
        let crl = crl.and_then(|crl| if der::is_sequence(&crl) { Ok(crl) } else { Err("not a CRL".to_owned()) });
        let crl = found.take("CRL", crl);
        found.crls.extend(crl);
    }
}
