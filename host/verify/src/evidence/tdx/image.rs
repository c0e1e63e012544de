//! Is it ours? What the TD was built of and what its registers hold, against what was approved.

use claim::profile::TaggedDigest;

use super::quote::{Measurement, Quote};
use crate::evidence::{Check, Mismatch, Report};
use crate::references::{AzurePolicy, Image};

/// Judges a TD that runs our image by itself: MRTD and RTMR 0 to 2 are those of one approved image. RTMR 3 is for what the
/// image extends at run time, and is shown.
pub fn approved(quote: &Quote, images: &[Image], report: &mut Report) {
    let found = [quote.mr_td, quote.rtmr[0], quote.rtmr[1], quote.rtmr[2]].map(TaggedDigest::Sha384);
    let approved = images.iter().any(|image| match image {
        Image::Tdx { mrtd, rtmr0, rtmr1, rtmr2 } => [mrtd, rtmr0, rtmr1, rtmr2].into_iter().eq(&found),
        _ => false,
    });
    let [mrtd, rtmr0, rtmr1, rtmr2] = found;
    let found = format!("MRTD {mrtd}, RTMR0 {rtmr0}, RTMR1 {rtmr1}, RTMR2 {rtmr2}");
    let result = if approved { Ok(found) } else { Err(Mismatch::new("an approved image of type tdx", found)) };
    report.check(Check::TdxImage, result);
}

/// Judges the TD of Azure's paravisor, under which our image runs: the vTPM's PCRs say which. Nothing may have extended the
/// registers, and MRTD is an approved one where the policy names any; else Microsoft's certificate of the attestation key,
/// which the policy then has to require, is what tells the paravisor from anybody's.
pub fn paravisor(quote: &Quote, policy: &AzurePolicy, report: &mut Report) {
    let extended = quote.rtmr.iter().position(|register| *register != [0; 48]);
    report.check(
        Check::TdxAzureRtmrs,
        extended.map_or(Ok("all zero"), |number| {
            let found = quote.rtmr.get(number).map(|register| claim::hex::encode(register)).unwrap_or_default();
            Err(Mismatch::new("RTMR 0 to 3 all zero", format!("RTMR{number} {found}")))
        }),
    );
    report.check(Check::TdxAzureMrtd, paravisor_mrtd(&quote.mr_td, policy));
}

fn paravisor_mrtd(mr_td: &Measurement, policy: &AzurePolicy) -> Result<String, Mismatch> {
    let found = TaggedDigest::Sha384(*mr_td);
    match (policy.mrtds.as_slice(), policy.require_ak_certificate) {
        ([], true) => Ok(format!("{found}, not pinned: Microsoft's certificate of the attestation key vouches for it")),
        ([], false) => {
            let expected = "platforms.azure.mrtds, or require_ak_certificate: nothing else tells whose paravisor it is";
            Err(Mismatch::new(expected, found.to_string()))
        }
        (pinned, _) if pinned.contains(&found) => Ok(found.to_string()),
        _ => Err(Mismatch::new("one of platforms.azure.mrtds", found.to_string())),
    }
}
