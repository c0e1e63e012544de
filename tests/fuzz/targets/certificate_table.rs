//! Tables of certificates that a host hands to an SNP guest: no panic, and every entry is a piece of the table.
#![no_main]

use libfuzzer_sys::fuzz_target;
use verify::evidence::snp::CertificateTable;
use verify::evidence::x509::{Certificate, Crl};

fuzz_target!(|bytes: &[u8]| {
    let Ok(table) = CertificateTable::parse(bytes) else { return };
    assert!(table.certificates.len() + table.crls.len() <= 16);
    for entry in &table.certificates {
        assert!(entry.len() <= bytes.len());
        let _ = Certificate::from_der(entry);
    }
    for entry in &table.crls {
        let _ = Crl::from_der(entry);
    }
});
