//! What a tool server says of its tools: asked when a call needs to know, and kept until it may have changed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::{Client, Dialect, Fault, Link, Outgoing, Upstreams};
use crate::catalog::{Catalog, Comparison, Drift};
use crate::error::Code;
use crate::limits;
use crate::mcp::envelope::{self, Answer, Message};
use crate::mcp::members::{Members, push_text, string};

/// What a server says when its tools have changed.
const CHANGED: &str = "notifications/tools/list_changed";
const METHOD: &str = "tools/list";

/// How often a server said that its tools have changed, over any link.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(Rc<Cell<u64>>);

impl Changes {
    /// The server said something that nobody asked for.
    pub(super) fn hear(&self, method: &str) {
        if method == CHANGED {
            self.0.set(self.0.get().wrapping_add(1));
        }
    }
}

/// What one link's server said of its tools. A server may say something else over another link.
#[derive(Debug, Default)]
pub struct Listed {
    /// Held by the call that asks; others wait for its answer.
    asking: Mutex<()>,
    last: RefCell<Option<Rc<Said>>>,
}

/// What a server said of its tools.
#[derive(Debug)]
pub struct Said {
    /// How often the server had said that its tools have changed.
    changes: u64,
    until: Instant,
    /// The approved tools that have drifted, by their place in the catalog; or why there is no list. What was not sent says
    /// nothing of the list: the server cannot be reached.
    pub tools: Result<BTreeMap<usize, Drift>, Fault>,
}

/// How long what a server said is believed.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// A list.
    pub list: Duration,
    /// That there is none.
    pub silence: Duration,
}

impl Upstreams {
    /// A server said something that nobody asked for.
    pub fn heard(&self, server: usize, method: &str) {
        if let Some(changes) = self.changes.get(server) {
            changes.hear(method);
        }
    }

    fn changes(&self, server: usize) -> u64 {
        self.changes.get(server).map_or(0, |changes| changes.0.get())
    }

    /// What a link's server said of its tools, if it still holds.
    pub fn said(&self, link: &Link) -> Option<Rc<Said>> {
        let said = link.listed.last.borrow();
        let holds = |said: &&Rc<Said>| said.changes == self.changes(link.server) && Instant::now() < said.until;
        said.as_ref().filter(holds).cloned()
    }

    /// Asks a link's server for its tools, unless that was done while this call waited for its turn.
    pub async fn ask(&self, link: &Link, client: &Client<'_>, catalog: &Catalog, keep: Keep) -> Rc<Said> {
        let before = link.listed.last.borrow().clone();
        let _turn = link.listed.asking.lock().await;
        let last = link.listed.last.borrow().clone();
        match (before, last) {
            (Some(before), Some(last)) if Rc::ptr_eq(&before, &last) => {}
            (_, Some(last)) => return last,
            (_, None) => {}
        }
        for _ in 0..limits::MAX_LISTS {
            let changes = self.changes(link.server);
            let tools = self.list(link, client, catalog).await;
            if tools.is_err() || changes == self.changes(link.server) {
                return self.say(link, tools, keep);
            }
        }
        self.say(link, Err(Fault::new(Code::UpstreamInvalid, "its tools change while it lists them")), keep)
    }

    /// Keeps what a server said, or that it said nothing.
    pub fn say(&self, link: &Link, tools: Result<BTreeMap<usize, Drift>, Fault>, keep: Keep) -> Rc<Said> {
        let kept = match &tools {
            Ok(_) => keep.list,
            Err(fault) if fault.sent => keep.silence,
            Err(_) => Duration::ZERO,
        };
        let said = Rc::new(Said { changes: self.changes(link.server), until: Instant::now() + kept, tools });
        link.listed.last.replace(Some(said.clone()));
        said
    }

    /// Reads all pages and compares.
    async fn list(&self, link: &Link, client: &Client<'_>, catalog: &Catalog) -> Result<BTreeMap<usize, Drift>, Fault> {
        let mut comparison = Comparison::new(catalog.behind(link.server));
        let (mut cursor, mut read) = (None, 0_usize);
        for _ in 0..limits::MAX_LIST_PAGES {
            let page = self.page(link, client, cursor.as_deref()).await?;
            read = read.saturating_add(page.len());
            if read > self.max_response {
                let text = format!("list of tools is over {} bytes", self.max_response);
                return Err(Fault::new(Code::UpstreamTooLarge, text));
            }
            cursor = read_page(&page, &mut comparison)?;
            if cursor.is_none() {
                return Ok(comparison.drifts());
            }
        }
        Err(invalid("list of tools has no end"))
    }

    /// The result of one request. [`Code::SessionUnknown`] if the link's session has ended.
    async fn page(&self, link: &Link, client: &Client<'_>, cursor: Option<&str>) -> Result<String, Fault> {
        let mut params = String::from("{");
        if let Some(cursor) = cursor {
            push_text(&mut params, "cursor", cursor);
        }
        params.push('}');
        let id = format!("\"cmcp-tools-{}\"", link.fresh_id());
        let outgoing = Outgoing {
            id: Some(&id),
            method: METHOD,
            params: Some(&params),
            name: None,
            tool: None,
            client: *client,
            trace: None,
        };
        let mut exchange = self.request(link, &outgoing).await?;
        let forgotten = exchange.status == 404 && matches!(link.dialect, Dialect::Legacy { session: Some(_), .. });
        while exchange.is_json() {
            let Some(bytes) = exchange.next().await? else {
                exchange = self.resume(link, exchange).await?;
                continue;
            };
            match envelope::parse_incoming(&bytes, &id) {
                Ok(Message::Response(response)) => {
                    let result = match response.answer {
                        Answer::Result(result) if exchange.is_success() => result.get().to_owned(),
                        Answer::Result(_) => return Err(invalid(exchange.describe())),
                        Answer::Error(_) => return Err(invalid("it answered tools/list with an error")),
                    };
                    exchange.give_back();
                    return Ok(result);
                }
                Ok(Message::Request(request)) => self.heard(link.server, &request.method),
                Err(text) if exchange.is_success() => return Err(invalid(text)),
                Err(_) => break,
            }
        }
        if forgotten {
            return Err(Fault { code: Code::SessionUnknown, detail: "session has ended".to_owned(), sent: false });
        }
        Err(invalid(exchange.describe()))
    }
}

fn invalid(text: impl Into<String>) -> Fault {
    Fault::new(Code::UpstreamInvalid, text)
}

/// Reads one page; the cursor of the next.
fn read_page(page: &str, comparison: &mut Comparison<'_>) -> Result<Option<String>, Fault> {
    let unreadable = || invalid("list of tools is not acceptable JSON");
    let page = Members::parse(page).map_err(|_| unreadable())?;
    let tools = page.find("tools").ok_or_else(unreadable)?;
    let tools: Vec<&RawValue> = serde_json::from_str(tools.get()).map_err(|_| unreadable())?;
    for tool in tools {
        let members = Members::parse(tool.get()).map_err(|_| unreadable())?;
        let name = members.find("name").and_then(string).ok_or_else(unreadable)?;
        comparison.listed(&name, tool.get());
    }
    match page.find("nextCursor").filter(|cursor| cursor.get() != "null") {
        None => Ok(None),
        Some(cursor) => string(cursor).map(|cursor| Some(cursor.into_owned())).ok_or_else(unreadable),
    }
}
