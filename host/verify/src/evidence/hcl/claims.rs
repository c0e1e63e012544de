//! The paravisor's runtime claims. Members that are not read here may be anything: Microsoft adds some now and then.

use claim::b64u;
use claim::json::{Json, JsonError, parse};
use thiserror::Error;

use crate::evidence::tpm::rsa_key;
use crate::evidence::x509::PublicKey;

/// Key id of the attestation key.
const AK: &str = "HCLAkPub";

/// What is read of the claims.
#[derive(Clone, Debug)]
pub struct Claims {
    /// HCLAkPub: the key that signs the vTPM's quotes.
    pub ak: PublicKey,
    /// `vm-configuration`.
    pub vm: VmConfiguration,
    /// `user-data`: what the VM wrote into NV index 0x01400002 before it read the report; absent on old paravisors.
    pub user_data: Option<[u8; 64]>,
}

/// How the VM is set up, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmConfiguration {
    /// `vmUniqueId`, a UUID.
    pub id: String,
    /// `console-enabled` or `interactive-console-enabled`.
    pub console: bool,
    /// `secure-boot`.
    pub secure_boot: bool,
    /// `tpm-enabled`.
    pub tpm: bool,
}

/// Claims that cannot be relied on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClaimsError {
    /// Not JSON, or a key twice.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Not what claims have there.
    #[error("{0}")]
    Member(String),
}

impl Claims {
    /// Reads the claims' bytes.
    ///
    /// # Errors
    /// See [`ClaimsError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ClaimsError> {
        let json = parse(bytes)?;
        Ok(Self { ak: ak(&json)?, vm: vm(&json)?, user_data: user_data(&json)? })
    }
}

fn member(why: impl Into<String>) -> ClaimsError {
    ClaimsError::Member(why.into())
}

fn ak(json: &Json) -> Result<PublicKey, ClaimsError> {
    let keys = json.get("keys").and_then(Json::as_array).unwrap_or_default();
    let mut named = keys.iter().filter(|key| key.get("kid").and_then(Json::as_str) == Some(AK));
    let (Some(key), None) = (named.next(), named.next()) else {
        return Err(member(format!("keys: not exactly one key {AK}")));
    };
    if key.get("kty").and_then(Json::as_str) != Some("RSA") {
        return Err(member(format!("{AK}: not RSA")));
    }
    let number = |name: &str| {
        let text = key.get(name).and_then(Json::as_str).and_then(b64u::decode);
        text.ok_or_else(|| member(format!("{AK}.{name}: not base64url")))
    };
    let (modulus, exponent) = (number("n")?, number("e")?);
    if modulus.iter().all(|byte| *byte == 0) {
        return Err(member(format!("{AK}.n is zero: the VM took the key away from the paravisor")));
    }
    let exponent = exponent.iter().try_fold(0_u32, |value, byte| value.checked_mul(256)?.checked_add((*byte).into()));
    let key = exponent.and_then(|exponent| rsa_key(&modulus, exponent));
    key.ok_or_else(|| member(format!("{AK}: no RSA key of 2048 to 4096 bits")))
}

fn vm(json: &Json) -> Result<VmConfiguration, ClaimsError> {
    let vm = json.get("vm-configuration").ok_or_else(|| member("no vm-configuration"))?;
    let flag = |name: &str| match vm.get(name).map(Json::as_bool) {
        None => Ok(None),
        Some(Some(value)) => Ok(Some(value)),
        Some(None) => Err(member(format!("vm-configuration.{name}: neither true nor false"))),
    };
    let needed = |name: &str| flag(name)?.ok_or_else(|| member(format!("vm-configuration: no {name}")));
    let id = vm.get("vmUniqueId").and_then(Json::as_str).ok_or_else(|| member("vm-configuration: no vmUniqueId"))?;
    Ok(VmConfiguration {
        id: id.to_owned(),
        console: needed("console-enabled")? || flag("interactive-console-enabled")?.unwrap_or_default(),
        secure_boot: needed("secure-boot")?,
        tpm: needed("tpm-enabled")?,
    })
}

/// 64 bytes in hexadecimal: old paravisors write capital digits.
fn user_data(json: &Json) -> Result<Option<[u8; 64]>, ClaimsError> {
    let Some(value) = json.get("user-data") else { return Ok(None) };
    let digits = value.as_str().map(str::to_ascii_lowercase).unwrap_or_default();
    match claim::hex::decode(&digits) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(member("user-data: not 64 bytes in hexadecimal")),
    }
}
