//! Changed reports and certificates, the same ones in every run.

use verify::evidence::x509::Certificate;

/// Fields of a report, by where they begin (AMD publication 56860), with the padding that is signed by nobody.
const FIELDS: &[usize] = &[
    0x000, 0x004, 0x008, 0x00A, 0x010, 0x020, 0x030, 0x034, 0x038, 0x03C, 0x03F, 0x040, 0x048, 0x04C, 0x050, 0x070,
    0x08F, 0x090, 0x0C0, 0x0E0, 0x110, 0x140, 0x160, 0x180, 0x184, 0x187, 0x188, 0x189, 0x18B, 0x1A0, 0x1E0, 0x1E4,
    0x1E8, 0x1EC, 0x1F0, 0x1F4, 0x1F8, 0x200, 0x208, 0x29F, 0x2A0, 0x2CF, 0x2D0, 0x2E8, 0x318, 0x330,
];

/// Where a bit was changed, as far as verifiers differ there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes of the four TCB versions that mean nothing for any product.
    TcbReserved,
    /// What is not a number in the report's signature.
    SignaturePadding,
    /// The certificate's algorithm, outside of what its CA signed.
    OuterAlgorithm,
    /// The count of unused bits in the signature of the certificate.
    UnusedBits,
    Elsewhere,
}

fn place_in_report(offset: usize) -> Place {
    match offset {
        0x03C | 0x184 | 0x1E4 | 0x1F4 => Place::TcbReserved,
        0x2D0..0x2E8 | 0x318.. => Place::SignaturePadding,
        _ => Place::Elsewhere,
    }
}

/// One of them.
pub struct Mutant {
    pub name: String,
    /// What was done.
    pub kind: &'static str,
    pub place: Place,
    pub report: Vec<u8>,
    pub vek: Vec<u8>,
    pub cas: Vec<Certificate>,
}

/// Nothing changed; one bit of each field; other lengths; one bit of every sixteenth byte of the key's certificate and of all
/// around its signature.
pub fn mutants(name: &str, report: &[u8], vek: &[u8], cas: &[Certificate]) -> Vec<Mutant> {
    let one = |kind: &'static str, what: String, report: Vec<u8>, vek: Vec<u8>| {
        let name = format!("{name}: {kind} {what}");
        Mutant { name, kind, place: Place::Elsewhere, report, vek, cas: cas.to_vec() }
    };
    let mut mutants = vec![one("as recorded", String::new(), report.to_vec(), vek.to_vec())];
    for offset in FIELDS.iter().copied() {
        for bit in [0, 7] {
            let changed = flipped(report, offset, bit);
            let mutant = one("bit of a report", format!("0x{offset:03X}.{bit}"), changed, vek.to_vec());
            mutants.push(Mutant { place: place_in_report(offset), ..mutant });
        }
    }
    let lengths = (0..report.len()).step_by(if name.starts_with("sev") { 1 } else { 37 });
    for length in lengths.chain([report.len() + 1, report.len() + 16, 2 * report.len(), 1 << 16]) {
        let mut resized = report.to_vec();
        resized.resize(length, 0);
        mutants.push(one("length of a report", length.to_string(), resized, vek.to_vec()));
    }
    // The signature's BIT STRING: tag, length in three bytes, count of unused bits, 512 bytes. Before it the algorithm, whose
    // SEQUENCE is of 65 or 70 bytes.
    let signature = vek.len() - 517;
    let algorithm = if vek[signature - 72] == 0x30 { signature - 72 } else { signature - 67 };
    for offset in (0..vek.len()).filter(|offset| offset % 16 == 5 || (algorithm..signature + 8).contains(offset)) {
        let bit = if offset == signature + 4 { 0 } else { u32::try_from(offset % 8).unwrap() };
        let mutant = one("bit of a certificate", format!("{offset}.{bit}"), report.to_vec(), flipped(vek, offset, bit));
        let place = match offset {
            _ if offset == signature + 4 => Place::UnusedBits,
            _ if (algorithm..signature).contains(&offset) => Place::OuterAlgorithm,
            _ => Place::Elsewhere,
        };
        mutants.push(Mutant { place, ..mutant });
    }
    for length in (0..vek.len()).step_by(29) {
        mutants.push(one("length of a certificate", length.to_string(), report.to_vec(), vek[..length].to_vec()));
    }
    mutants
}

fn flipped(bytes: &[u8], offset: usize, bit: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[offset] ^= 1 << bit;
    bytes
}
