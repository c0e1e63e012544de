//! Secrets that tool servers are shown: provisioned by the operator after each start, held in memory, and used for the one server
//! that the operator's signature names, whatever the catalog says.
//!
//! A secret leaves in one direction only, inside TLS to that server. It is in no record, log or answer, and neither is its hash, from
//! which a weak one could be guessed.

mod certificate;
mod order;
mod slot;

#[cfg(test)]
mod tests;

use std::rc::Rc;

use claim::bootlog::BootId;
use claim::key::PublicKey;
use claim::operator::ProvisionOrder;
use wire::{BootRefusal, Document, RefusalCode};

use crate::catalog::{Catalog, Endpoint, Place, Server, says};
use crate::config::Config;
use crate::document::refusal;

pub use self::certificate::ClientCertificate;
pub use self::order::{Malformed, Order};
pub use self::slot::Slot;

/// The secrets of all tool servers, by the server's place in the catalog's list.
pub struct Secrets(Vec<Option<Rc<Slot>>>);

/// Why a secret is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody could sign for one.
    #[error("the configuration has no operator.public_key")]
    NoKey,
    /// The catalog has no such name.
    #[error("the catalog has no server.secret of this name")]
    Name,
    /// The catalog has it, for another server.
    #[error("the catalog has no server with this secret, this url and this pin")]
    Server,
    /// Not signed, or another boot, name, value, server or pin was.
    #[error("the signature is not one by operator.public_key for this boot ({0}), name, value, server and pin")]
    Signature(BootId),
    /// It cannot be shown as the catalog says.
    #[error("the value is not {0}")]
    Value(&'static str),
}

/// A catalog with secrets needs somebody who can provision them.
///
/// # Errors
/// Nobody can.
pub fn check(config: &Config, catalog: &Catalog) -> Result<(), BootRefusal> {
    let Some(secret) = catalog.servers().iter().find_map(|server| server.secret.as_ref()) else { return Ok(()) };
    let missing = [
        ("operator.public_key", config.operator.public_key.is_none(), "the key that signs for secrets"),
        ("operator.token_sha256", config.operator.token_sha256.is_none(), "the token of whoever brings secrets"),
    ];
    match missing.into_iter().find(|(_, missing, _)| *missing) {
        None => Ok(()),
        Some((field, _, expected)) => {
            let found = format!("nothing, and the catalog has the secret {}", secret.name);
            Err(refusal(RefusalCode::Missing, &Document::Config, field, &found, expected))
        }
    }
}

impl Secrets {
    /// Room for the secrets of a catalog.
    pub fn of(catalog: &Catalog) -> Self {
        let slot = |server: &Server| server.secret.as_ref().map(|secret| Rc::new(Slot::new(secret)));
        Self(catalog.servers().iter().map(slot).collect())
    }

    /// The secret of a server, if it has one.
    pub fn slot(&self, server: usize) -> Option<Rc<Slot>> {
        self.0.get(server).cloned().flatten()
    }

    /// Makes sure of an order, and hands out what takes its secret.
    ///
    /// # Errors
    /// See [`Refusal`]; nothing has changed.
    pub fn admit(
        &self,
        catalog: &Catalog,
        boot_id: BootId,
        key: Option<&PublicKey>,
        name: &str,
        order: &Order,
    ) -> Result<Taking, Refusal> {
        let key = key.ok_or(Refusal::NoKey)?;
        let signed = ProvisionOrder {
            boot_id,
            name: name.to_owned(),
            value_sha256: order.sha256(),
            server: order.server.clone(),
            pin: order.pin.clone(),
        };
        key.verify_provision(&signed, &order.signature).map_err(|_| Refusal::Signature(boot_id))?;
        let named = |server: &&Server| server.secret.as_ref().is_some_and(|secret| secret.name == name);
        if !catalog.servers().iter().any(|server| named(&server)) {
            return Err(Refusal::Name);
        }
        let place = catalog.servers().iter().position(|server| named(&server) && is_for(order, server));
        let slot = place.and_then(|place| Some((place, self.slot(place)?))).ok_or(Refusal::Server)?;
        let held = slot.1.read(&order.value)?;
        Ok(Taking { server: slot.0, slot: slot.1, held })
    }
}

/// A secret that is signed for, on its way into its place.
pub struct Taking {
    /// The server's place in the catalog's list.
    pub server: usize,
    slot: Rc<Slot>,
    held: slot::Held,
}

impl Taking {
    /// Uses it from now on, in place of what was there.
    pub fn put(self) {
        self.slot.put(self.held);
    }
}

/// Whether an order is for this server: its url, and what the catalog pins of it.
fn is_for(order: &Order, server: &Server) -> bool {
    let Place::Remote(endpoint) = &server.place else { return false };
    let same = Endpoint::parse(&order.server).is_ok_and(|signed| signed == *endpoint);
    same && says(&order.pin, server.pin())
}
