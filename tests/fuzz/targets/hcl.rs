//! Reports of Azure's paravisor: no panic, and the header changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use verify::evidence::Report;
use verify::evidence::hcl;
use verify::references::AzurePolicy;

fuzz_target!(|bytes: &[u8]| {
    let judge = |bytes: &[u8]| {
        let mut report = Report::default();
        hcl::appraise(bytes, Some(&[0; 64]), &AzurePolicy::default(), &mut report);
        report
    };
    let report = judge(bytes);
    let mut other = bytes.to_vec();
    other.iter_mut().take(0x20).for_each(|byte| *byte ^= 0xff);
    assert_eq!(judge(&other), report);
    // Claims alone, as the hash in the report keeps mutation away from them.
    drop(hcl::Claims::parse(bytes));
});
