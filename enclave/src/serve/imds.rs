//! The way to the instance metadata service of Azure, which only the machine itself can reach: the host fetches certificates of the
//! TPM there. Bytes are relayed and not read. There is one address.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wire::OpenRefusal;

use crate::limits;
use crate::transport::BoxStream;

/// The same in every virtual network.
const SERVICE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80));

/// Connects to the service.
///
/// # Errors
/// [`OpenRefusal::Unreachable`].
pub(super) async fn connect() -> Result<TcpStream, OpenRefusal> {
    let connected = timeout(limits::IMDS_CONNECT_TIMEOUT, TcpStream::connect(SERVICE)).await;
    connected.ok().and_then(Result::ok).ok_or(OpenRefusal::Unreachable)
}

/// Relays until either side ends, has sent what it may, or time is up.
pub(super) async fn relay(host: BoxStream, service: TcpStream) {
    let (from_host, mut to_host) = split(host);
    let (from_service, mut to_service) = split(service);
    let (mut from_host, mut from_service) =
        (from_host.take(limits::MAX_IMDS_BYTES), from_service.take(limits::MAX_IMDS_BYTES));
    let _ = timeout(limits::IMDS_TIMEOUT, async {
        tokio::select! {
            _ = copy(&mut from_host, &mut to_service) => {}
            _ = copy(&mut from_service, &mut to_host) => {}
        }
        to_host.shutdown().await
    })
    .await;
}
