//! TCB info: which versions of a platform's components Intel holds to be what (PCS API v4, "Get TDX TCB Info", version 3).

use claim::time::Timestamp;

use super::document::{Malformed, Object};
use super::pck::PlatformTcb;
use super::status::TcbStatus;

/// What Intel says of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tcb {
    pub(super) status: TcbStatus,
    /// What is known to be wrong with it.
    pub(super) advisories: Vec<String>,
    /// When it was the current one.
    pub(super) date: Timestamp,
}

/// A TDX module's signer and attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    mr_signer: [u8; 48],
    attributes: [u8; 8],
    mask: [u8; 8],
}

/// Modules of one major version.
#[derive(Clone, Debug)]
struct ModuleIdentity {
    id: String,
    module: Module,
    levels: SvnLevels,
}

/// Levels of a component with one SVN, highest first.
#[derive(Clone, Debug)]
pub(super) struct SvnLevels(Vec<(u16, Tcb)>);

/// Least versions of all components; ordered as Intel's library orders them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Least {
    sgx: [u8; 16],
    pce: u16,
    tdx: [u8; 16],
}

#[derive(Clone, Debug)]
pub(super) struct TcbInfo {
    pub(super) issued: Timestamp,
    pub(super) next_update: Timestamp,
    pub(super) fmspc: [u8; 6],
    pub(super) pce_id: [u8; 2],
    /// Intel's number of the state of knowledge.
    pub(super) evaluation: u32,
    module: Module,
    modules: Vec<ModuleIdentity>,
    /// Highest first.
    levels: Vec<(Least, Tcb)>,
}

impl TcbInfo {
    pub(super) fn read(document: Object<'_>) -> Result<Self, Malformed> {
        if document.text("id")? != "TDX" {
            return Err(Malformed::new("id", "\"TDX\""));
        }
        if document.number::<u8>("version")? != 3 {
            return Err(Malformed::new("version", "3"));
        }
        let levels =
            document.list("tcbLevels")?.map(|level| Ok((Least::read(level.object("tcb")?)?, Tcb::read(level)?)));
        let mut levels: Vec<_> = levels.collect::<Result<_, _>>()?;
        levels.sort_by(|(left, _), (right, _)| right.cmp(left));
        Ok(Self {
            issued: document.time("issueDate")?,
            next_update: document.time("nextUpdate")?,
            fmspc: document.array("fmspc")?,
            pce_id: document.array("pceId")?,
            evaluation: document.number("tcbEvaluationDataNumber")?,
            module: Module::read(document.object("tdxModule")?)?,
            modules: document
                .optional_list("tdxModuleIdentities")?
                .map(ModuleIdentity::read)
                .collect::<Result<_, _>>()?,
            levels,
        })
    }

    /// What Intel says of a platform and a `TEE_TCB_SVN`: of the first level that all its versions reach, and of the
    /// TDX module's. Nothing, if no level is reached.
    pub(super) fn appraise(&self, platform: &PlatformTcb, tee_tcb_svn: &[u8; 16]) -> Option<Tcb> {
        let (_, tcb) = self.levels.iter().find(|(least, _)| least.reached(platform, tee_tcb_svn))?;
        if !has_identity(tee_tcb_svn) {
            return Some(tcb.clone());
        }
        let module = self.identity(tee_tcb_svn)?.levels.reached(tee_tcb_svn[0].into())?;
        Some(tcb.clone().join(module))
    }

    /// The module that a `TEE_TCB_SVN` names, if Intel knows it.
    pub(super) fn module(&self, tee_tcb_svn: &[u8; 16]) -> Option<&Module> {
        if !has_identity(tee_tcb_svn) {
            return Some(&self.module);
        }
        self.identity(tee_tcb_svn).map(|identity| &identity.module)
    }

    fn identity(&self, tee_tcb_svn: &[u8; 16]) -> Option<&ModuleIdentity> {
        let id = format!("TDX_{:02X}", tee_tcb_svn[1]);
        self.modules.iter().find(|identity| identity.id.eq_ignore_ascii_case(&id))
    }
}

/// Whether the module's major version, byte 1, has an identity of its own; the first modules have version 0 and none.
const fn has_identity(tee_tcb_svn: &[u8; 16]) -> bool {
    tee_tcb_svn[1] > 0
}

impl Tcb {
    pub(super) fn read(level: Object<'_>) -> Result<Self, Malformed> {
        let status = TcbStatus::of_document(level.text("tcbStatus")?);
        Ok(Self {
            status: status.ok_or_else(|| Malformed::new("tcbStatus", "status that Intel defines"))?,
            advisories: level.texts("advisoryIDs")?,
            date: level.time("tcbDate")?,
        })
    }

    /// Of both components together.
    pub(super) fn join(self, other: &Self) -> Self {
        let status = self.status.join(other.status);
        self.with(other, status)
    }

    /// Of a TD that was launched with this one and runs with the other.
    pub(super) fn after_update(self, now: &Self) -> Self {
        let status = self.status.after_update(now.status);
        self.with(now, status)
    }

    fn with(mut self, other: &Self, status: TcbStatus) -> Self {
        self.advisories.extend(other.advisories.iter().cloned());
        self.advisories.sort_unstable();
        self.advisories.dedup();
        Self { status, advisories: self.advisories, date: self.date.min(other.date) }
    }
}

impl Module {
    fn read(object: Object<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            mr_signer: object.array("mrsigner")?,
            attributes: object.array("attributes")?,
            mask: object.array("attributesMask")?,
        })
    }

    /// Whether a quote names this signer and these attributes; bits outside the mask may not be set.
    pub(super) fn is(&self, mr_signer: &[u8; 48], attributes: [u8; 8]) -> bool {
        let (expected, mask) = (u64::from_le_bytes(self.attributes), u64::from_le_bytes(self.mask));
        let attributes = u64::from_le_bytes(attributes);
        *mr_signer == self.mr_signer && attributes & mask == expected & mask && attributes & !mask == 0
    }
}

impl ModuleIdentity {
    fn read(object: Object<'_>) -> Result<Self, Malformed> {
        let levels = SvnLevels::read(object)?;
        Ok(Self { id: object.text("id")?.to_owned(), module: Module::read(object)?, levels })
    }
}

impl SvnLevels {
    /// The `tcbLevels` of an object.
    pub(super) fn read(object: Object<'_>) -> Result<Self, Malformed> {
        let levels = object.list("tcbLevels")?;
        let levels = levels.map(|level| Ok((level.object("tcb")?.number("isvsvn")?, Tcb::read(level)?)));
        let mut levels: Vec<(u16, Tcb)> = levels.collect::<Result<_, _>>()?;
        levels.sort_by_key(|(svn, _)| std::cmp::Reverse(*svn));
        Ok(Self(levels))
    }

    /// The highest level that a version reaches.
    pub(super) fn reached(&self, svn: u16) -> Option<&Tcb> {
        self.0.iter().find(|(least, _)| svn >= *least).map(|(_, tcb)| tcb)
    }
}

impl Least {
    fn read(tcb: Object<'_>) -> Result<Self, Malformed> {
        let (sgx, tdx) = (components(tcb, "sgxtcbcomponents")?, components(tcb, "tdxtcbcomponents")?);
        Ok(Self { sgx, pce: tcb.number("pcesvn")?, tdx })
    }

    /// The module's versions, bytes 0 and 1, are judged by its identity where it has one.
    fn reached(&self, platform: &PlatformTcb, tee_tcb_svn: &[u8; 16]) -> bool {
        let judged = if has_identity(tee_tcb_svn) { 2 } else { 0 };
        let reach =
            |have: &[u8; 16], least: &[u8; 16], from: usize| have.iter().zip(least).skip(from).all(|(a, b)| a >= b);
        reach(&platform.sgx, &self.sgx, 0) && platform.pce >= self.pce && reach(tee_tcb_svn, &self.tdx, judged)
    }
}

fn components(tcb: Object<'_>, name: &str) -> Result<[u8; 16], Malformed> {
    let svns: Vec<u8> = tcb.list(name)?.map(|component| component.number("svn")).collect::<Result<_, _>>()?;
    svns.try_into().map_err(|_| Malformed::new(name, "array of 16 components"))
}
