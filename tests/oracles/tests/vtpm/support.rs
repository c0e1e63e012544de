//! Files of recorded evidence, as our formats have them.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use claim::json::Json;
use verify::evidence::hcl::{Claims, HclReport};
use verify::evidence::tpm::pcrs::Values;
use verify::evidence::x509::{Certificate, PublicKey};
use verify::evidence::{Report, tpm};

/// A quote with what is needed to judge it.
pub(crate) struct Quote {
    pub(crate) message: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) pcrs: Values,
    pub(crate) key: PublicKey,
}

impl Quote {
    pub(crate) fn judge(&self, nonce: Option<&[u8]>) -> Report {
        let mut report = Report::default();
        let quote = tpm::Signed { message: &self.message, signature: &self.signature, pcrs: &self.pcrs };
        tpm::appraise(&quote, &self.key, nonce, &mut report);
        report
    }
}

pub(crate) fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

pub(crate) fn fixture(path: &str) -> Option<PathBuf> {
    oracles::fixtures().map(|folder| folder.join(path))
}

pub(crate) fn sample(name: &str) -> Vec<u8> {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| oracles::crate_source("az-cvm-vtpm").join("test"));
    read(FOLDER.join(name))
}

/// RSASSA with SHA-256 as TPMT_SIGNATURE: most collections keep the bare number.
pub(crate) fn rsassa(signature: &[u8]) -> Vec<u8> {
    if signature.starts_with(&[0, 0x14, 0, 0x0b]) {
        return signature.to_vec();
    }
    [&[0, 0x14, 0, 0x0b][..], &u16::try_from(signature.len()).unwrap().to_be_bytes(), signature].concat()
}

/// A list of 24 values, or an object of them.
pub(crate) fn pcrs(json: &[u8]) -> Values {
    let json = claim::json::parse(json).unwrap();
    let value = |index: usize| match &json {
        Json::Array(values) => values[index].as_str().unwrap().to_owned(),
        other => other.get(&index.to_string()).unwrap().as_str().unwrap().to_owned(),
    };
    std::array::from_fn(|index| claim::hex::decode(&value(index)).unwrap())
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    text.trim()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Key of the paravisor's claims.
pub(crate) fn hcl_key(hcl: &[u8]) -> PublicKey {
    Claims::parse(HclReport::parse(hcl).unwrap().claims).unwrap().ak
}

pub(crate) fn pem_key(pem: &[u8]) -> PublicKey {
    let text = std::str::from_utf8(pem).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    PublicKey::from_spki(&base64(&body)).unwrap()
}

pub(crate) fn certificate_key(der: &[u8]) -> PublicKey {
    Certificate::from_padded_der(der).unwrap().key().unwrap()
}

/// Standard alphabet.
pub(crate) fn base64(text: &str) -> Vec<u8> {
    let text: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            other => other,
        })
        .collect();
    claim::b64u::decode(&text).unwrap()
}

/// Numbers that look random and are the same in every run (splitmix64).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// One change: a bit, a byte, a cut, an insertion, or two bytes that look like a size.
    pub(crate) fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        let at = self.below(bytes.len());
        match self.below(6) {
            0 => changed[at] ^= 1 << self.below(8),
            1 => changed[at] = self.next().to_le_bytes()[0],
            2 => changed.truncate(at),
            3 => changed.insert(at, self.next().to_le_bytes()[0]),
            4 => drop(changed.remove(at)),
            _ => changed[at..].iter_mut().take(2).for_each(|byte| *byte = [0, 1, 0x7f, 0xff][self.below(4)]),
        }
        changed
    }
}
