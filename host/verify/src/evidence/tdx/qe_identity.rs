//! QE identity: what Intel's quoting enclave for TDs looks like (PCS API v4, "Get TDX QE Identity", version 2).

use claim::time::Timestamp;

use super::document::{Malformed, Object};
use super::quote::EnclaveReport;
use super::tcb_info::SvnLevels;

/// SGX attribute DEBUG: its host reads the enclave's memory.
const DEBUG: u8 = 2;

#[derive(Clone, Debug)]
pub(super) struct QeIdentity {
    pub(super) issued: Timestamp,
    pub(super) next_update: Timestamp,
    pub(super) levels: SvnLevels,
    mr_signer: [u8; 32],
    isv_prod_id: u16,
    misc_select: [[u8; 4]; 2],
    attributes: [[u8; 16]; 2],
}

impl QeIdentity {
    pub(super) fn read(document: Object<'_>) -> Result<Self, Malformed> {
        if document.text("id")? != "TD_QE" {
            return Err(Malformed::new("id", "\"TD_QE\""));
        }
        if !matches!(document.number("version")?, 2_u8 | 3) {
            return Err(Malformed::new("version", "2 or 3"));
        }
        Ok(Self {
            issued: document.time("issueDate")?,
            next_update: document.time("nextUpdate")?,
            levels: SvnLevels::read(document)?,
            mr_signer: document.array("mrsigner")?,
            isv_prod_id: document.number("isvprodid")?,
            misc_select: [document.array("miscselect")?, document.array("miscselectMask")?],
            attributes: [document.array("attributes")?, document.array("attributesMask")?],
        })
    }

    /// What of a report is not this enclave's, if anything.
    pub(super) fn differs(&self, report: &EnclaveReport) -> Option<&'static str> {
        let wrong = [
            (report.mr_signer != self.mr_signer, "MRSIGNER"),
            (report.isv_prod_id != self.isv_prod_id, "ISVPRODID"),
            (!matches(&report.misc_select, &self.misc_select), "MISCSELECT"),
            (!matches(&report.attributes, &self.attributes), "ATTRIBUTES"),
            (report.attributes[0] & DEBUG != 0, "DEBUG"),
        ];
        wrong.into_iter().find(|(wrong, _)| *wrong).map(|(_, name)| name)
    }
}

/// Whether the bits under the mask are the expected ones.
fn matches<const N: usize>(found: &[u8; N], [expected, mask]: &[[u8; N]; 2]) -> bool {
    found.iter().zip(expected).zip(mask).all(|((found, expected), mask)| found & mask == expected & mask)
}
