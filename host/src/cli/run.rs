//! `host`: serve.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::net::{TcpListener, lookup_host};

use super::Outcome;
use crate::collateral::Sources;
use crate::demo::DemoServer;
use crate::documents::{Documents, Mode, Origin, archive};
use crate::enclave::{self, Source};
use crate::metrics::{Metrics, server};
use crate::processes::Processes;
use crate::quickstart;
use crate::report::{LogFormat, Reporter};
use crate::store::disk::Folder;
use crate::store::{Geometry, Store, StoreError};
use crate::supervisor::Supervisor;
use crate::transport::{Address, Link};
use crate::vm::{self, VmOptions};

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Run the enclave as a child process without hardware; its claims say so
    #[arg(long, env = "CMCP_DEV_MODE", value_parser = switch, hide_env_values = true)]
    dev_enclave: bool,
    /// Serve with the enclave that somebody else started at this address, on hardware; when it ends, wait for the next one there.
    /// unix:PATH (a process), vsock://CID:PORT (a VM), vsock+unix:PATH:PORT (a VM, through its monitor's socket) or
    /// tcp://ADDR:PORT (another machine)
    #[arg(long, value_name = "ADDRESS")]
    enclave: Option<Address>,
    #[command(flatten)]
    vm: VmOptions,
    /// With --dev-enclave: speak TLS with agents, as outside dev mode, instead of plain HTTP
    #[arg(long, requires = "dev_enclave")]
    tls: bool,
    /// Configuration file [default: the built-in quickstart with its tool server on 127.0.0.1:9001]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The configuration and what it names as one archive with cmcp-config.yaml in it, `-` for standard input: for a host without
    /// files of its own (docs/azure.md)
    #[arg(long, value_name = "ARCHIVE", conflicts_with = "config")]
    documents: Option<PathBuf>,
    /// Where agents connect, instead of listen_addr in the configuration; loopback only with --dev-enclave
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Show metrics at http://ADDR/metrics, for Prometheus and for host status; loopback only with --dev-enclave
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// How to write what happens
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
    #[command(flatten)]
    collateral: Sources,
}

/// The environment variable's value; set to nothing is not set.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "" | "0" | "false" | "no" => Ok(false),
        "1" | "true" | "yes" => Ok(true),
        _ => Err("expected 1 or 0".to_owned()),
    }
}

impl Run {
    pub(super) async fn execute(self) -> Outcome {
        let reporter = Reporter::new(self.log_format);
        let source = self.source(reporter)?;
        self.collateral.check()?;
        let unpacked = self.documents.as_deref().map(archive::unpack).transpose()?;
        let config =
            unpacked.as_ref().map(|folder| folder.path().join(archive::CONFIG)).or_else(|| self.config.clone());
        let documents = config.as_deref().map_or_else(Documents::quickstart, Documents::load)?;
        raise_file_limit();
        let listen = self.listen.as_ref().unwrap_or(&documents.settings.listen);
        let exposed = "with --dev-enclave no hardware keeps the gateway apart from this machine, and without a configuration \
                       that says otherwise whoever reaches it can call every tool";
        let listener = self.bind(listen, exposed).await?;
        let metrics = self.show_metrics(&documents, reporter).await?;
        let store = open_store(&documents, reporter)?;
        if documents.origin == Origin::Quickstart {
            start_demo_server().await?;
        }
        let collateral = self.collateral;
        let mode = Mode { dev: self.dev_enclave, tls: self.tls };
        let processes = Arc::new(Processes::new(documents.catalog.clone(), &documents.folder(), reporter));
        let supervisor =
            Supervisor { documents, listener, store, source, collateral, mode, processes, metrics, reporter };
        Ok(supervisor.run().await?)
    }

    fn source(&self, reporter: Reporter) -> Result<Source, Box<dyn Error>> {
        if let Some(other) = self.enclave.as_ref().map(|_| "--enclave").or(self.vm.image().map(|_| "--vm"))
            && self.dev_enclave
        {
            return Err(format!(
                "{other} is for an enclave that is measured, --dev-enclave (CMCP_DEV_MODE) for one that is not: choose one"
            )
            .into());
        }
        if let Some(machine) = self.vm.machine()? {
            reporter.warn("software_tpm", vm::SOFTWARE_TPM, json!({}));
            return Ok(Source::Machine(machine.into()));
        }
        let Some(address) = &self.enclave else { return Ok(Source::Program(enclave::sibling()?)) };
        let link = Link::attach(address).map_err(|error| unattached(address, &error))?;
        Ok(Source::Attached(address.clone(), link.into()))
    }

    /// Binds an address that is for this machine alone in dev mode, because of what is exposed there.
    async fn bind(&self, listen: &str, exposed: &str) -> Result<TcpListener, String> {
        let unusable = |error| format!("cannot listen on {listen}: {error}");
        let addresses: Vec<SocketAddr> = lookup_host(listen).await.map_err(unusable)?.collect();
        if let Some(open) = addresses.iter().find(|address| self.dev_enclave && !address.ip().is_loopback()) {
            return Err(format!(
                "cannot listen on {listen}: {} is not a loopback address, and {exposed}; use 127.0.0.1:{}",
                open.ip(),
                open.port()
            ));
        }
        TcpListener::bind(&*addresses).await.map_err(unusable)
    }

    /// The metrics, served if that was asked for.
    async fn show_metrics(&self, documents: &Documents, reporter: Reporter) -> Result<Arc<Metrics>, Box<dyn Error>> {
        let tools = documents.catalog.tools.iter().map(|tool| tool.name.clone()).collect();
        let metrics = Arc::new(Metrics::new(tools));
        if let Some(address) = &self.metrics {
            let exposed = "with --dev-enclave nothing here is for other machines";
            let listener = self.bind(address, exposed).await?;
            let address = listener.local_addr()?;
            reporter.info(
                "metrics",
                &format!("metrics at http://{address}/metrics"),
                json!({ "address": address.to_string() }),
            );
            tokio::spawn(server::serve(listener, Arc::clone(&metrics)));
        }
        Ok(metrics)
    }
}

fn unattached(address: &Address, error: &io::Error) -> String {
    match (address, error.kind()) {
        (_, io::ErrorKind::AddrInUse) => format!("--enclave {address}: another host serves with it"),
        (Address::Unix(_) | Address::Hybrid { .. }, _) => {
            format!("--enclave {address}: no socket can be made beside it: {error}")
        }
        (Address::Vsock { .. }, _) => format!(
            "--enclave {address}: this machine's kernel has no vsock ({error}); for VMs: modprobe vhost_vsock, for CID 1: \
             modprobe vsock_loopback"
        ),
        (Address::Tcp { .. }, _) => {
            format!("--enclave {address}: cannot listen for the enclave's connections: {error}")
        }
    }
}

fn open_store(documents: &Documents, reporter: Reporter) -> Result<Arc<Store<Folder>>, String> {
    let path = &documents.settings.store;
    let folder = Folder::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => format!("record store {}: another host has it open", path.display()),
        _ => format!("record store {}: {error}", path.display()),
    })?;
    let opened: Result<_, StoreError> = Store::open(folder, Geometry::default());
    let (store, torn) = opened.map_err(|error| format!("record store {}: {error}", path.display()))?;
    if let Some(torn) = torn {
        let fields = json!({ "segment": torn.segment, "offset": torn.offset, "bytes": torn.bytes });
        reporter.warn("torn_tail", &format!("record store {}: {torn}", path.display()), fields);
    }
    Ok(Arc::new(store))
}

/// On a thread of its own, as if it were another process.
async fn start_demo_server() -> Outcome {
    let address: SocketAddr = quickstart::DEMO_SERVER.parse()?;
    let server = DemoServer::bind(address).await.map_err(|error| {
        format!(
            "the quickstart's tool server cannot listen on {address}: {error}; stop what uses that address, or give a \
             configuration of your own with --config"
        )
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = server.into_std()?;
    std::thread::Builder::new().name("demo-server".into()).spawn(move || {
        runtime.block_on(async {
            if let Ok(server) = DemoServer::from_std(listener) {
                server.serve().await;
            }
        });
    })?;
    Ok(())
}

/// Each agent costs two descriptors; the usual limit of 1024 is for programs that use select(2). Serving works without.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
