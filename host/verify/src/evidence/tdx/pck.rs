//! The platform in its PCK certificate's SGX extension (Intel SGX PCK Certificate and CRL Profile, section 1.3.5).

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Sequence};
use thiserror::Error;

/// Versions of what the platform's keys depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlatformTcb {
    /// SVNs of the 16 SGX components.
    pub(super) sgx: [u8; 16],
    /// SVN of the provisioning certification enclave.
    pub(super) pce: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Platform {
    /// Family, model, stepping, platform type and custom SKU.
    pub(super) fmspc: [u8; 6],
    pub(super) pce_id: [u8; 2],
    pub(super) tcb: PlatformTcb,
}

/// Why an extension does not describe a platform.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum PlatformError {
    #[error("no SGX extension")]
    None,
    #[error("its SGX extension: {0}")]
    Der(der::Error),
    #[error("its SGX extension has {0} times {1}")]
    Times(usize, ObjectIdentifier),
    #[error("its SGX extension has another value than one of its size in {0}")]
    Value(ObjectIdentifier),
}

/// The extension's id; members are below it.
pub(super) const SGX: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
const TCB: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.2");
const PCE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.3");
const FMSPC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.4");
/// Below [`TCB`]: 1 to 16 are the components' SVNs.
const PCE_SVN: u32 = 17;

#[derive(Sequence)]
struct Member<'a> {
    id: ObjectIdentifier,
    value: AnyRef<'a>,
}

struct Members<'a>(Vec<Member<'a>>);

impl Platform {
    pub(super) fn read(extension: Option<&[u8]>) -> Result<Self, PlatformError> {
        let members = Vec::from_der(extension.ok_or(PlatformError::None)?).map_err(PlatformError::Der)?;
        let members = Members(members);
        let tcb = Members(members.one(TCB)?.decode_as().map_err(PlatformError::Der)?);
        Ok(Self { fmspc: members.octets(FMSPC)?, pce_id: members.octets(PCE_ID)?, tcb: PlatformTcb::read(&tcb)? })
    }
}

impl PlatformTcb {
    fn read(members: &Members<'_>) -> Result<Self, PlatformError> {
        let mut sgx = [0; 16];
        for (svn, arc) in sgx.iter_mut().zip(1..) {
            *svn = members.number(arc)?;
        }
        Ok(Self { sgx, pce: members.number(PCE_SVN)? })
    }
}

impl<'a> Members<'a> {
    /// The value of a member that is there once.
    fn one(&self, id: ObjectIdentifier) -> Result<AnyRef<'a>, PlatformError> {
        let values: Vec<_> = self.0.iter().filter(|member| member.id == id).map(|member| member.value).collect();
        match values.as_slice() {
            [value] => Ok(*value),
            several => Err(PlatformError::Times(several.len(), id)),
        }
    }

    fn octets<const N: usize>(&self, id: ObjectIdentifier) -> Result<[u8; N], PlatformError> {
        let octets = self.one(id)?.decode_as::<&OctetStringRef>().map_err(PlatformError::Der)?;
        octets.as_bytes().try_into().map_err(|_| PlatformError::Value(id))
    }

    /// A number below [`TCB`].
    fn number<T: TryFrom<u16>>(&self, arc: u32) -> Result<T, PlatformError> {
        let id = TCB.push_arc(arc).map_err(|_| PlatformError::Value(TCB))?;
        let number: u16 = self.one(id)?.decode_as().map_err(PlatformError::Der)?;
        T::try_from(number).map_err(|_| PlatformError::Value(id))
    }
}
