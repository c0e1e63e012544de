//! What goes with the enclave's evidence so that others can judge it offline: certificates, lists of revoked ones and
//! statements of vendors. All of it is signed by somebody whom verifiers know, so it is fetched here, and believed for nothing
//! in the enclave. Without it the gateway serves all the same; its evidence is then judged by whoever has the rest.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use clap::Args;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use wire::{BootReport, Provider};

use crate::limits;
use crate::report::Reporter;
use crate::transport::Link;

mod amd;
mod azure;
mod der;
mod http;
mod intel;
mod relay;
#[cfg(test)]
mod tests;

use http::Http;
use relay::Relay;

/// Where collateral comes from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Collateral of hardware evidence")]
pub struct Sources {
    /// Attach what this file has to claims, instead of fetching it (docs/operate.md, Collateral)
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// On Azure: where the metadata service of the enclave's VM is; with --enclave tcp:// it is reached through the enclave
    #[arg(long, value_name = "URL", default_value = azure::IMDS)]
    imds: String,
    /// On AMD SEV-SNP: AMD's key distribution service, or a cache of it
    #[arg(long, value_name = "URL", default_value = amd::KDS)]
    kds: String,
    /// On Intel TDX: Intel's provisioning certification service, or a cache of it (PCCS)
    #[arg(long, value_name = "URL", default_value = intel::PCS)]
    pcs: String,
    /// Where issuers of Azure's TPM keys may be fetched from, by the ends of their hosts' names
    #[arg(skip = azure::ISSUERS.map(str::to_owned).to_vec())]
    issuers: Vec<String>,
    /// Where the enclave's own way to the metadata service begins, if there is one
    #[arg(skip)]
    relay: Option<SocketAddr>,
}

/// Collateral as it comes in.
#[derive(Debug, Default)]
struct Collateral {
    certificates: Vec<Vec<u8>>,
    crls: Vec<Vec<u8>>,
    td_quote: Option<Vec<u8>>,
    tdx: Option<Value>,
    /// What could not be had, and why.
    missing: Vec<String>,
}

/// A fetch that goes on for as long as this is held.
#[derive(Debug)]
pub struct Fetching {
    documents: mpsc::Receiver<Vec<u8>>,
    task: Option<JoinHandle<()>>,
}

impl Sources {
    /// Whether the file can be read, if one is named.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        self.collateral.as_deref().map_or(Ok(()), |path| given(path).map(drop))
    }

    /// Collateral for an enclave's evidence: what is there, and again when it changes. What is missing is asked for again.
    pub fn fetch(&self, report: &BootReport, link: &Arc<Link>, reporter: Reporter) -> Fetching {
        let (sender, documents) = mpsc::channel(1);
        let sources = self.clone();
        let task = match (&self.collateral, report.provider) {
            (Some(path), _) => {
                let path = path.clone();
                tokio::spawn(async move {
                    match given(&path) {
                        Ok(document) => _ = sender.send(document).await,
                        Err(error) => reporter.warn("collateral_missing", &error, json!({})),
                    }
                    sender.closed().await;
                })
            }
            // Nobody but its operator knows who certified a plain TPM's key.
            (None, Provider::SoftwareOnly | Provider::Tpm) => return Fetching::none(),
            (None, provider) => {
                let evidence = Arc::new(evidence(&report.evidence.0));
                let link = Arc::clone(link);
                tokio::spawn(async move {
                    let fetching = |sources| keep_fetching(sources, provider, evidence, sender, reporter);
                    match sources.through(&link, provider).await {
                        Some((relay, sources)) => tokio::select! {
                            () = relay.run(link) => {}
                            () = fetching(sources) => {}
                        },
                        None => fetching(sources).await,
                    }
                })
            }
        };
        Fetching { documents, task: Some(task) }
    }

    /// A way to the metadata service of another machine, which answers to nobody else: the enclave's, for machines of a network.
    async fn through(&self, link: &Link, provider: Provider) -> Option<(Relay, Self)> {
        let azure = matches!(provider, Provider::AzureSnp | Provider::AzureTdx);
        if !azure || self.imds != azure::IMDS || !matches!(link, Link::Tcp(_)) {
            return None;
        }
        let (relay, address) = Relay::bind().await.ok()?;
        Some((relay, Self { relay: Some(address), ..self.clone() }))
    }

    /// Everything that can be had now. Blocks.
    fn all(&self, provider: Provider, evidence: &Value) -> Collateral {
        let mut found = Collateral::default();
        let http = Http::new(self.relay);
        match provider {
            Provider::AzureSnp => azure::snp(self, &http, evidence, &mut found),
            Provider::AzureTdx => azure::tdx(self, &http, evidence, &mut found),
            Provider::SevSnp => match octets(evidence, "report") {
                Some(report) => amd::report(&http, &self.kds, &report, &mut found),
                None => found.missing.push("the evidence has no report".to_owned()),
            },
            Provider::Tdx => match octets(evidence, "quote") {
                Some(quote) => intel::quote(&http, &self.pcs, &quote, &mut found),
                None => found.missing.push("the evidence has no quote".to_owned()),
            },
            Provider::SoftwareOnly | Provider::Tpm => {}
        }
        found
    }
}

impl Fetching {
    /// Nothing, ever.
    pub fn none() -> Self {
        Self { documents: mpsc::channel(1).1, task: None }
    }

    /// The next document for the enclave.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.documents.recv().await
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Collateral {
    /// Keeps what there is, or says what is missing.
    fn take<T>(&mut self, what: &str, found: Result<T, String>) -> Option<T> {
        found.map_err(|error| self.missing.push(format!("{what}: {error}"))).ok()
    }

    fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.crls.is_empty() && self.td_quote.is_none() && self.tdx.is_none()
    }

    fn document(&self) -> Vec<u8> {
        let texts = |all: &[Vec<u8>]| all.iter().map(|one| text(one)).collect::<Vec<_>>();
        let mut members = Map::new();
        for (name, all) in [("certificates", &self.certificates), ("crls", &self.crls)] {
            if !all.is_empty() {
                members.insert(name.to_owned(), texts(all).into());
            }
        }
        members.extend(self.td_quote.as_deref().map(|quote| ("td_quote".to_owned(), text(quote).into())));
        members.extend(self.tdx.clone().map(|tdx| ("tdx".to_owned(), tdx)));
        Value::Object(members).to_string().into_bytes()
    }
}

/// Fetches until all is there, ever more slowly, and then anew now and then.
async fn keep_fetching(
    sources: Sources,
    provider: Provider,
    evidence: Arc<Value>,
    sender: mpsc::Sender<Vec<u8>>,
    reporter: Reporter,
) {
    let (sources, mut sent) = (Arc::new(sources), Vec::new());
    let mut pause = limits::COLLATERAL_RETRY;
    loop {
        let (asked, about) = (Arc::clone(&sources), Arc::clone(&evidence));
        let Ok(found) = spawn_blocking(move || asked.all(provider, &about)).await else { return };
        let document = found.document();
        if !found.is_empty() && document != sent {
            sent.clone_from(&document);
            if sender.send(document).await.is_err() {
                return;
            }
        }
        sleep(next(&mut pause, &found.missing, reporter)).await;
    }
}

/// How long until it is time to ask again.
fn next(pause: &mut Duration, missing: &[String], reporter: Reporter) -> Duration {
    if missing.is_empty() {
        *pause = limits::COLLATERAL_RETRY;
        return limits::COLLATERAL_REFRESH;
    }
    let now = *pause;
    *pause = (now * 2).min(limits::COLLATERAL_RETRY_LONGEST);
    let text = format!(
        "claims go without part of their collateral, next attempt in {} s: {}",
        now.as_secs(),
        missing.join("; ")
    );
    reporter.warn("collateral_missing", &text, json!({ "missing": missing, "next_attempt_s": now.as_secs() }));
    now
}

/// A file of collateral that an operator made.
fn given(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("--collateral {}: {error}", path.display());
    let document = std::fs::read(path).map_err(|error| wrong(&error))?;
    if document.len() > wire::limits::COLLATERAL {
        return Err(wrong(&format!("{} bytes, and at most {} are attached", document.len(), wire::limits::COLLATERAL)));
    }
    match serde_json::from_slice::<Value>(&document) {
        Ok(Value::Object(_)) => Ok(document),
        Ok(_) => Err(wrong(&"found JSON, expected an object with certificates, crls, td_quote or tdx")),
        Err(error) => Err(wrong(&error)),
    }
}

/// The evidence in what the boot shows of itself; null if there is none.
fn evidence(shown: &[u8]) -> Value {
    serde_json::from_slice::<Value>(shown)
        .ok()
        .and_then(|mut shown| Some(shown.get_mut("evidence")?.take()))
        .unwrap_or_default()
}

/// Bytes of a member of the evidence.
fn octets(evidence: &Value, name: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(evidence.get(name)?.as_str()?).ok()
}

fn text(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}
