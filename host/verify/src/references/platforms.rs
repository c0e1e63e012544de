//! What a relying party asks of hardware. Every default is the strict one.

use claim::profile::TaggedDigest;
use serde::Deserialize;

use crate::evidence::tdx::TcbStatus;

/// Policies by platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Platforms {
    /// Of SEV-SNP reports.
    pub sev_snp: SnpPolicy,
    /// Of TDX quotes.
    pub tdx: TdxPolicy,
    /// Of Azure's paravisor.
    pub azure: AzurePolicy,
}

/// `platforms.sev_snp`. On Azure too, where the report is of the paravisor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of the file")]
pub struct SnpPolicy {
    /// Lowest security versions, by product; of a product without one, whether it is current stays open.
    pub minimum_tcb: MinimumTcb,
    /// Accepted VMPLs; by default 0 alone.
    pub vmpl: Vec<u8>,
    /// Whether a migration agent may be associated.
    pub allow_migration: bool,
    /// Whether simultaneous multithreading may be on.
    pub allow_smt: bool,
    /// Whether the committed firmware may be older than the running one.
    pub allow_provisional_firmware: bool,
    /// Whether AMD's list of revoked keys must be there.
    pub require_crl: bool,
    /// Accepted digests of the ID key; none: any, or no ID block.
    pub id_key_digests: Vec<TaggedDigest>,
    /// Accepted digests of the author key; none: any.
    pub author_key_digests: Vec<TaggedDigest>,
    /// Lowest GUEST_SVN.
    pub minimum_guest_svn: u32,
}

impl Default for SnpPolicy {
    fn default() -> Self {
        Self {
            minimum_tcb: MinimumTcb::default(),
            vmpl: vec![0],
            allow_migration: false,
            allow_smt: true,
            allow_provisional_firmware: false,
            require_crl: false,
            id_key_digests: Vec::new(),
            author_key_digests: Vec::new(),
            minimum_guest_svn: 0,
        }
    }
}

/// Lowest security versions of each product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MinimumTcb {
    /// EPYC 7003.
    pub milan: Option<TcbVersions>,
    /// EPYC 9004.
    pub genoa: Option<TcbVersions>,
    /// EPYC 9005.
    pub turin: Option<TcbVersions>,
}

/// Security versions of a platform's parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TcbVersions {
    /// FMC; Turin alone has one.
    pub fmc: u8,
    /// Boot loader.
    pub bootloader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

/// `platforms.tdx`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TdxPolicy {
    /// Accepted TCB statuses, as Intel spells them; by default `UpToDate` alone, and `Revoked` never.
    pub accept_tcb: Vec<String>,
    /// Security advisories that a platform of an accepted status may be open to; by default none. A status that is accepted for
    /// what is known today is not accepted for what is found tomorrow.
    pub accept_advisories: Vec<String>,
}

impl Default for TdxPolicy {
    fn default() -> Self {
        Self { accept_tcb: vec!["UpToDate".into()], accept_advisories: Vec::new() }
    }
}

/// `platforms.azure`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzurePolicy {
    /// Accepted digests of the ID key, which is Microsoft's: what the paravisor is known by with SEV-SNP.
    pub id_key_digests: Vec<TaggedDigest>,
    /// Lowest GUEST_SVN: of the paravisor.
    pub minimum_guest_svn: u32,
    /// Accepted MRTDs: what the paravisor is known by with TDX.
    pub mrtds: Vec<TaggedDigest>,
    /// Whether the attestation key must have Microsoft's certificate.
    pub require_ak_certificate: bool,
    /// Whether the serial console may be on: it is the operator's.
    pub allow_console: bool,
    /// Whether secure boot must be on. Without it the image is known all the same.
    pub require_secure_boot: bool,
}

impl Default for AzurePolicy {
    fn default() -> Self {
        Self {
            id_key_digests: Vec::new(),
            minimum_guest_svn: 0,
            mrtds: Vec::new(),
            require_ak_certificate: true,
            allow_console: false,
            require_secure_boot: false,
        }
    }
}

impl Platforms {
    pub(super) fn check(&self) -> Result<(), String> {
        let lists = [
            ("sev_snp.id_key_digests", &self.sev_snp.id_key_digests),
            ("sev_snp.author_key_digests", &self.sev_snp.author_key_digests),
            ("azure.id_key_digests", &self.azure.id_key_digests),
            ("azure.mrtds", &self.azure.mrtds),
        ];
        for (name, digests) in lists {
            if digests.iter().any(|digest| !matches!(digest, TaggedDigest::Sha384(_))) {
                return Err(format!("platforms.{name}: expected sha384: and 96 digits"));
            }
        }
        if let Some(vmpl) = self.sev_snp.vmpl.iter().find(|vmpl| **vmpl > 3) {
            return Err(format!("platforms.sev_snp.vmpl: found {vmpl}, expected 0 to 3"));
        }
        let refused = |name: &&String| TcbStatus::parse(name).is_none_or(|status| status == TcbStatus::REVOKED);
        match self.tdx.accept_tcb.iter().find(refused) {
            Some(name) => Err(format!(
                "platforms.tdx.accept_tcb: found {name}, expected a status that Intel defines, other than Revoked: {}",
                TcbStatus::names().filter(|name| *name != "Revoked").collect::<Vec<_>>().join(", ")
            )),
            None => Ok(()),
        }
    }
}
