//! Documents of the boot bundle: no panic, whatever the host sends. The first byte chooses the document.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((b'c', json)) => drop(enclave::config::parse(json)),
        Some((b'k', json)) => drop(enclave::catalog::Catalog::parse(json)),
        _ => {}
    }
});
