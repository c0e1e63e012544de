//! The way to the metadata service of the machine that the enclave has to itself: an address of this machine whose connections
//! the enclave relays there. What comes back is signed by vendors.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use wire::HostOpen;

use crate::limits;
use crate::relay::relay;
use crate::transport::{Transport, open};

/// Relays for as long as it runs.
#[derive(Debug)]
pub(super) struct Relay(TcpListener);

impl Relay {
    /// Listens, for this machine alone.
    pub(super) async fn bind() -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok((Self(listener), address))
    }

    pub(super) async fn run<T: Transport>(self, transport: Arc<T>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = self.0.accept() => match accepted {
                    Ok((near, _)) => _ = connections.spawn(through(near, Arc::clone(&transport))),
                    Err(_) => sleep(limits::ACCEPT_PAUSE).await,
                },
            }
        }
    }
}

async fn through<T: Transport>(near: TcpStream, transport: Arc<T>) {
    if let Ok(Ok(enclave)) = timeout(limits::COLLATERAL_TIMEOUT, open(&*transport, &HostOpen::Imds)).await {
        relay(near, enclave).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;
    use wire::OpenAnswer;

    use super::*;
    use crate::collateral::azure::IMDS;
    use crate::collateral::http::Http;
    use crate::transport::Link;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

    /// An enclave that relays to a metadata service: what it was asked.
    async fn enclave(listener: UnixListener) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(wire::read::<HostOpen>(&mut stream).await.unwrap(), HostOpen::Imds);
        wire::write(&mut stream, &OpenAnswer::Ready).await.unwrap();
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).await.unwrap();
        stream.write_all(ANSWER).await.unwrap();
        String::from_utf8(asked[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_metadata_service_is_asked_through_the_enclave_and_nobody_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("enclave.sock");
        let enclave = tokio::spawn(enclave(UnixListener::bind(&socket).unwrap()));
        let link = Link::attach(&format!("unix:{}", socket.display()).parse().unwrap()).unwrap();
        let (relay, address) = Relay::bind().await.unwrap();
        let relay = tokio::spawn(relay.run(Arc::new(link)));
        let answer = tokio::task::spawn_blocking(move || {
            let http = Http::new(Some(address));
            assert!(http.get("http://127.0.0.1:1/metadata", &[]).is_err(), "another place is where it always was");
            http.get(&format!("{IMDS}/metadata/THIM/amd/certification"), &[("Metadata", "true")])
        });
        assert_eq!(answer.await.unwrap().map(|answer| answer.body), Ok(b"{}".to_vec()));
        let asked = enclave.await.unwrap().to_ascii_lowercase();
        assert!(asked.starts_with("get /metadata/thim/amd/certification http/1.1\r\n"), "{asked}");
        assert!(asked.contains("\r\nhost: 169.254.169.254\r\n"), "{asked}");
        relay.abort();
    }
}
