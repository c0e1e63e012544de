//! Links to tool servers, each opened when it is first needed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::OnceCell;
use tokio::task::spawn_local;

use super::{Fault, Link};
use crate::error::Code;
use crate::gateway::Gateway;

/// A link that is open, or being opened.
type Opening = Rc<OnceCell<Rc<Link>>>;

/// At most one link to each server and what it is told that it may ask.
#[derive(Default)]
pub struct Links {
    cells: RefCell<BTreeMap<usize, Vec<(String, Opening)>>>,
    closed: Cell<bool>,
}

impl Links {
    /// The link to a server, opened if there is none; whoever comes meanwhile waits for it.
    ///
    /// # Errors
    /// What became of opening it; the next caller tries again.
    pub async fn open<F: Future<Output = Result<Rc<Link>, Fault>>>(
        &self,
        server: usize,
        capabilities: &str,
        opening: impl FnOnce() -> F,
    ) -> Result<Rc<Link>, Fault> {
        let cell = self.cell(server, capabilities)?;
        if let Some(link) = cell.get() {
            return Ok(link.clone());
        }
        // Boxed, as everything that few calls need: what a future may hold is copied with every call.
        Box::pin(cell.get_or_try_init(opening)).await.cloned()
    }

    /// The link to a server, if there is one.
    pub fn if_open(&self, server: usize, capabilities: &str) -> Option<Rc<Link>> {
        let cells = self.cells.borrow();
        let (_, cell) = cells.get(&server)?.iter().find(|(told, _)| told == capabilities)?;
        cell.get().filter(|link| !link.is_over()).cloned()
    }

    fn cell(&self, server: usize, capabilities: &str) -> Result<Opening, Fault> {
        if self.closed.get() {
            return Err(Fault::new(Code::UpstreamUnavailable, "session has ended"));
        }
        let mut cells = self.cells.borrow_mut();
        let cells = cells.entry(server).or_default();
        cells.retain(|(_, cell)| !cell.get().is_some_and(|link| link.is_over()));
        if let Some((_, cell)) = cells.iter().find(|(told, _)| told == capabilities) {
            return Ok(cell.clone());
        }
        let cell = Opening::default();
        cells.push((capabilities.to_owned(), cell.clone()));
        Ok(cell)
    }

    /// Forgets a link that is of no use any more.
    pub fn forget(&self, link: &Rc<Link>) {
        if let Some(cells) = self.cells.borrow_mut().get_mut(&link.server) {
            cells.retain(|(_, cell)| !cell.get().is_some_and(|current| Rc::ptr_eq(current, link)));
        }
    }

    /// The links that are open.
    pub fn all(&self) -> Vec<Rc<Link>> {
        self.cells.borrow().values().flatten().filter_map(|(_, cell)| cell.get().cloned()).collect()
    }

    /// Ends what is behind the links, and lets no others open.
    pub fn end(&self, gateway: &Rc<Gateway>) {
        self.closed.set(true);
        let cells = std::mem::take(&mut *self.cells.borrow_mut());
        for link in cells.into_values().flatten().filter_map(|(_, cell)| cell.get().cloned()) {
            let gateway = gateway.clone();
            spawn_local(async move { gateway.upstreams.end(&link).await });
        }
    }
}
