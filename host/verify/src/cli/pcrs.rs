//! Values of registers and keys of TPMs, as files.

use std::collections::BTreeMap;
use std::path::Path;

use base64ct::{Base64, Encoding};
use claim::evidence::PCRS;
use claim::json::Json;

use super::{CliError, input};
use crate::evidence::tpm::TpmPublic;
use crate::evidence::tpm::pcrs::Values;
use crate::evidence::x509::PublicKey;

/// Values of registers by number: a JSON list from 0 on, or an object.
pub(super) fn registers(path: &Path) -> Result<BTreeMap<u32, Vec<u8>>, CliError> {
    let wrong = |why: &str| CliError::Input(format!("{}: {why}", path.display()));
    let json = claim::json::parse(&input::read(path)?).map_err(|error| wrong(&error.to_string()))?;
    let values: Vec<_> = match &json {
        Json::Array(values) => values.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        Json::Object(values) => values.iter().map(|(index, value)| (index.clone(), value)).collect(),
        _ => return Err(wrong("neither a list nor an object of registers")),
    };
    let register = |(index, value): (String, &Json)| {
        let number = index.parse().map_err(|_| wrong(&format!("{index:?} is no number of a register")))?;
        let bytes = value.as_str().and_then(hex).ok_or_else(|| wrong(&format!("{index}: no hexadecimal digits")))?;
        Ok((number, bytes))
    };
    values.into_iter().map(register).collect()
}

/// All PCRs of the SHA-256 bank.
pub(super) fn pcrs(path: &Path) -> Result<Values, CliError> {
    let registers = registers(path)?;
    let mut values = [[0; 32]; PCRS];
    for (index, value) in (0..).zip(&mut values) {
        let bytes = registers.get(&index).and_then(|bytes| bytes.as_slice().try_into().ok());
        let missing = || CliError::Input(format!("{}: PCR {index} is not there with 64 digits", path.display()));
        *value = bytes.ok_or_else(missing)?;
    }
    let more = registers.len() > PCRS;
    if more { Err(CliError::Input(format!("{}: more than {PCRS} PCRs", path.display()))) } else { Ok(values) }
}

/// An attestation key: PEM of a SubjectPublicKeyInfo, or TPMT_PUBLIC.
pub(super) fn pinned(path: &Path) -> Result<PublicKey, CliError> {
    let bytes = input::read(path)?;
    let wrong = |why: String| {
        CliError::Input(format!("{}: neither PEM of a public key nor TPMT_PUBLIC: {why}", path.display()))
    };
    match pem(&bytes) {
        Some(der) => PublicKey::from_spki(&der).map_err(|error| wrong(error.to_string())),
        None => TpmPublic::parse(&bytes).map(|public| public.key).map_err(|error| wrong(error.to_string())),
    }
}

fn pem(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let body = text.strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let digits: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    Base64::decode_vec(&digits).ok()
}

/// Bytes of hexadecimal digits in either case.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.is_ascii() {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let digits = std::str::from_utf8(pair).ok().filter(|digits| digits.len() == 2)?;
            claim::hex::decode::<1>(&digits.to_ascii_lowercase()).map(|[byte]| byte)
        })
        .collect()
}
