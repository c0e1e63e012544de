//! Collateral of TDX, its documents and the platform in a PCK certificate: anything can be read or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    verify::evidence::tdx::read_unverified(bytes);
});
