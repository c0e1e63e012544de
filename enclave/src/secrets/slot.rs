//! A place for one secret of one tool server, in the form in which the server is shown it.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::Refusal;
use super::certificate::{self, ClientCertificate};
use crate::catalog::{Secret, Usage};

/// Longest value of a header field, in bytes: what servers take.
const LONGEST_FIELD: usize = 8 << 10;

/// A place for one secret. It cannot be copied or shown.
pub struct Slot {
    name: String,
    usage: Usage,
    field: RefCell<Option<Zeroizing<String>>>,
    certificate: Arc<ClientCertificate>,
}

/// A secret as it is shown.
pub(super) enum Held {
    /// The value of a header field.
    Field(Zeroizing<String>),
    /// For TLS.
    Certificate(Arc<CertifiedKey>),
}

impl Slot {
    pub(super) fn new(secret: &Secret) -> Self {
        let Secret { name, usage } = secret.clone();
        Self { name, usage, field: RefCell::default(), certificate: Arc::default() }
    }

    /// What the operator calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the TLS handshake finds it, if that is how it is shown.
    pub fn certificate(&self) -> Option<Arc<ClientCertificate>> {
        (self.usage == Usage::ClientCertificate).then(|| self.certificate.clone())
    }

    /// Gives the header field that shows it, if that is how, to whoever writes requests. Nothing if it is not there.
    pub fn with_field<T>(&self, write: impl FnOnce(Option<(&str, &str)>) -> T) -> Option<T> {
        let name = match &self.usage {
            Usage::Bearer => "authorization",
            Usage::Header(name) => name,
            Usage::ClientCertificate => return self.certificate.is_there().then(|| write(None)),
        };
        let field = self.field.borrow();
        field.as_ref().map(|value| write(Some((name, value.as_str()))))
    }

    pub(super) fn read(&self, value: &[u8]) -> Result<Held, Refusal> {
        let (prefix, expected) = match &self.usage {
            Usage::ClientCertificate => return certificate::read(value).map(Held::Certificate),
            Usage::Bearer => ("Bearer ", "a bearer token: 1 to 8192 visible ASCII characters, without a line end"),
            Usage::Header(_) => ("", "a header field's value: 1 to 8192 visible ASCII characters and single spaces"),
        };
        let text = std::str::from_utf8(value).map_err(|_| Refusal::Value(expected))?;
        let spaces = self.usage != Usage::Bearer && text.trim() == text;
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() || (spaces && byte == b' '));
        if !plain || !(1..=LONGEST_FIELD).contains(&text.len()) {
            return Err(Refusal::Value(expected));
        }
        let mut field = Zeroizing::new(String::with_capacity(prefix.len() + text.len()));
        field.push_str(prefix);
        field.push_str(text);
        Ok(Held::Field(field))
    }

    pub(super) fn put(&self, held: Held) {
        match held {
            Held::Field(field) => drop(self.field.replace(Some(field))),
            Held::Certificate(certificate) => self.certificate.put(certificate),
        }
    }
}
