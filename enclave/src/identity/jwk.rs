//! Keys of an issuer (RFC 7517, RFC 7518, RFC 8037): each fits exactly one algorithm.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use claim::b64u;
use wire::{BootRefusal, Document, RefusalCode};

use super::jwt::Refusal;
use crate::config::{Jwk, Jwks, LONGEST_TEXT, invalid};
use crate::document::refusal;

/// Keys of one issuer.
const MAX_KEYS: usize = 32;
/// Sizes of an RSA modulus in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Longest exponent of an RSA key in bytes.
const MAX_EXPONENT: usize = 4;

/// What a token is signed with. No others are known, `none` least of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

/// A key, and its name if it has one.
struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    public: ParsedPublicKey,
}

/// The keys of an issuer.
pub(super) struct Keys(Vec<Key>);

impl Algorithm {
    const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The algorithm of this name in a token's `alg`.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// What a key of this type and curve is for.
    fn of(kty: &str, crv: Option<&str>) -> Option<Self> {
        match (kty, crv) {
            ("RSA", None) => Some(Self::Rs256),
            ("EC", Some("P-256")) => Some(Self::Es256),
            ("OKP", Some("Ed25519")) => Some(Self::EdDsa),
            _ => None,
        }
    }
}

impl Keys {
    /// The keys of the configuration.
    ///
    /// # Errors
    /// One that is private, of another kind, not for signatures, too weak, or no key; two of the same `kid`.
    pub(super) fn of(jwks: &Jwks) -> Result<Self, BootRefusal> {
        if jwks.keys.is_empty() || jwks.keys.len() > MAX_KEYS {
            let expected = format!("1 to {MAX_KEYS} keys");
            return Err(invalid("auth.jwt.jwks.keys", &jwks.keys.len().to_string(), &expected));
        }
        let mut keys: Vec<Key> = Vec::with_capacity(jwks.keys.len());
        for (index, jwk) in jwks.keys.iter().enumerate() {
            let at = format!("auth.jwt.jwks.keys[{index}]");
            let key = Key::of(jwk, &at)?;
            if let Some(kid) = key.kid.as_deref().filter(|kid| keys.iter().any(|key| key.kid.as_deref() == Some(*kid)))
            {
                let (field, found) = (format!("{at}.kid"), format!("{kid:?}"));
                let expected = "a kid of its own";
                return Err(refusal(RefusalCode::Duplicate, &Document::Config, &field, &found, expected));
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    /// Whether one of the keys has signed these bytes: the one of this `kid`, or without one the only one that fits.
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), Refusal> {
        let key = match kid {
            Some(kid) => self.0.iter().find(|key| key.kid.as_deref() == Some(kid)).ok_or(Refusal::UnknownKey),
            None => self.only(algorithm),
        }?;
        if key.algorithm != algorithm {
            return Err(Refusal::KeyAlgorithm);
        }
        key.public.verify_sig(signed, signature).map_err(|_| Refusal::Signature)
    }

    fn only(&self, algorithm: Algorithm) -> Result<&Key, Refusal> {
        let mut fitting = self.0.iter().filter(|key| key.algorithm == algorithm);
        let first = fitting.next().ok_or(Refusal::KeyAlgorithm)?;
        if fitting.next().is_some() { Err(Refusal::NoKeyId) } else { Ok(first) }
    }
}

impl Key {
    fn of(jwk: &Jwk, at: &str) -> Result<Self, BootRefusal> {
        if let Some(member) = jwk.private_member() {
            let expected = "public keys only; whoever could read this file can sign tokens: have the key replaced";
            return Err(invalid(&format!("{at}.{member}"), "a private key, which is not repeated here", expected));
        }
        let algorithm = Algorithm::of(&jwk.kty, jwk.crv.as_deref()).ok_or_else(|| {
            let found = format!("{:?}{}", jwk.kty, jwk.crv.as_ref().map(|crv| format!(" {crv:?}")).unwrap_or_default());
            invalid(&format!("{at}.kty"), &found, "RSA, EC with crv P-256, or OKP with crv Ed25519; take others out")
        })?;
        check_usage(jwk, algorithm, at)?;
        let kid = jwk.kid.as_deref().map_or(Ok(None), |kid| check_kid(kid, at).map(Some))?;
        let public = match algorithm {
            Algorithm::Rs256 => rsa(jwk, at)?,
            Algorithm::Es256 => p256(jwk, at)?,
            Algorithm::EdDsa => ed25519(jwk, at)?,
        };
        Ok(Self { kid, algorithm, public })
    }
}

fn check_usage(jwk: &Jwk, algorithm: Algorithm, at: &str) -> Result<(), BootRefusal> {
    if let Some(alg) = jwk.alg.as_deref().filter(|alg| *alg != algorithm.name()) {
        let expected = format!("{}, or nothing, for this kty; take keys for other algorithms out", algorithm.name());
        return Err(invalid(&format!("{at}.alg"), &format!("{alg:?}"), &expected));
    }
    if let Some(usage) = jwk.usage.as_deref().filter(|usage| *usage != "sig") {
        return Err(invalid(&format!("{at}.use"), &format!("{usage:?}"), "sig, or nothing; take other keys out"));
    }
    match &jwk.key_ops {
        Some(operations) if !operations.iter().any(|operation| operation == "verify") => {
            Err(invalid(&format!("{at}.key_ops"), &format!("{operations:?}"), "verify, or no key_ops"))
        }
        _ => Ok(()),
    }
}

fn check_kid(kid: &str, at: &str) -> Result<String, BootRefusal> {
    if (1..=LONGEST_TEXT).contains(&kid.len()) && kid.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        return Ok(kid.to_owned());
    }
    let expected = format!("1 to {LONGEST_TEXT} bytes of printable ASCII");
    Err(invalid(&format!("{at}.kid"), &format!("{kid:?}"), &expected))
}

fn rsa(jwk: &Jwk, at: &str) -> Result<ParsedPublicKey, BootRefusal> {
    let (n, e) = (member(jwk.n.as_ref(), at, "n")?, member(jwk.e.as_ref(), at, "e")?);
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if n.first() == Some(&0) || !RSA_BITS.contains(&bits) {
        let expected = format!("{} to {} bits without a leading zero byte", RSA_BITS.start(), RSA_BITS.end());
        return Err(invalid(&format!("{at}.n"), &format!("{bits} bits"), &expected));
    }
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    if e.len() > MAX_EXPONENT || !odd || e == [1] {
        return Err(invalid(&format!("{at}.e"), jwk.e.as_deref().unwrap_or_default(), "an odd number from 3, as AQAB"));
    }
    let key = PublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
    key.map_err(|_| invalid(at, "an RSA key that is none", "n and e of a public key"))
}

fn p256(jwk: &Jwk, at: &str) -> Result<ParsedPublicKey, BootRefusal> {
    let (x, y) = (member(jwk.x.as_ref(), at, "x")?, member(jwk.y.as_ref(), at, "y")?);
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    let whole = x.len() == 32 && y.len() == 32;
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok().filter(|_| whole);
    key.ok_or_else(|| {
        invalid(at, "x and y that are no point of P-256", "x and y of 32 bytes each, a point of the curve")
    })
}

fn ed25519(jwk: &Jwk, at: &str) -> Result<ParsedPublicKey, BootRefusal> {
    let x = member(jwk.x.as_ref(), at, "x")?;
    let key = ParsedPublicKey::new(&ED25519, &x).ok().filter(|_| x.len() == 32);
    key.ok_or_else(|| invalid(&format!("{at}.x"), "no public key", "an Ed25519 public key of 32 bytes"))
}

fn member(value: Option<&String>, at: &str, name: &str) -> Result<Vec<u8>, BootRefusal> {
    let (field, expected) = (format!("{at}.{name}"), "base64url without padding");
    let missing = || refusal(RefusalCode::Missing, &Document::Config, &field, "nothing", expected);
    let value = value.ok_or_else(missing)?;
    b64u::decode(value).ok_or_else(|| invalid(&field, value, expected))
}
