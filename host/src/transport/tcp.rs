//! TCP: an enclave on another machine of the same private network. What travels is as public as what the host itself sees.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use wire::Stream;

use super::Transport;
use crate::limits;

/// Where enclaves open their streams.
const CALLBACK_PORT: u16 = 5001;

/// The enclave's address, and the port for streams that it opens.
#[derive(Debug)]
pub struct Tcp {
    host: String,
    port: u16,
    callback: TcpListener,
    /// The machine that was last connected to, whose streams are taken.
    enclave: Mutex<Option<IpAddr>>,
}

impl Tcp {
    /// Listens for whichever enclave listens at this address, now and later.
    ///
    /// # Errors
    /// Another host has the callback port.
    pub fn attach(host: &str, port: u16) -> io::Result<Self> {
        Self::listening(host, port, CALLBACK_PORT)
    }

    fn listening(host: &str, port: u16, callback: u16) -> io::Result<Self> {
        // Both families at once, where there are both.
        let listener =
            std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, callback)).or_else(|error| match error.kind() {
                io::ErrorKind::AddrInUse => Err(error),
                _ => std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, callback)),
            })?;
        listener.set_nonblocking(true)?;
        let callback = TcpListener::from_std(listener)?;
        Ok(Self { host: host.to_owned(), port, callback, enclave: Mutex::default() })
    }

    fn enclave(&self) -> std::sync::MutexGuard<'_, Option<IpAddr>> {
        self.enclave.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As a stream that does not wait for more to send, and breaks when the other machine has vanished.
fn ready(socket: TcpStream) -> io::Result<Stream> {
    socket.set_nodelay(true)?;
    let probes = TcpKeepalive::new()
        .with_time(limits::TCP_PROBE_AFTER)
        .with_interval(limits::TCP_PROBE_PAUSE)
        .with_retries(limits::TCP_PROBES);
    let options = SockRef::from(&socket);
    options.set_tcp_keepalive(&probes)?;
    // Probes are for connections on which nothing is under way; this is for the others.
    options.set_tcp_user_timeout(Some(limits::TCP_SILENCE))?;
    Stream::new(socket.into_std()?, usize::MAX)
}

impl Transport for Tcp {
    fn callback_port(&self) -> u32 {
        CALLBACK_PORT.into()
    }

    async fn connect(&self) -> io::Result<Stream> {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let socket = timeout(limits::OPEN_TIMEOUT, connect).await??;
        let address = socket.peer_addr()?.ip().to_canonical();
        *self.enclave() = Some(address);
        ready(socket)
    }

    async fn accept(&self) -> io::Result<Stream> {
        loop {
            let (socket, peer) = self.callback.accept().await?;
            if *self.enclave() == Some(peer.ip().to_canonical()) {
                return ready(socket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::spawn_blocking;

    use super::*;
    use crate::transport::Blocking;

    /// A transport to a listener on loopback, and where it takes streams.
    async fn attached() -> (TcpListener, Tcp, SocketAddr) {
        let enclave = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = Tcp::listening("127.0.0.1", enclave.local_addr().unwrap().port(), 0).unwrap();
        let callback = SocketAddr::from((Ipv4Addr::LOCALHOST, tcp.callback.local_addr().unwrap().port()));
        (enclave, tcp, callback)
    }

    async fn takes(tcp: &Tcp) -> bool {
        timeout(Duration::from_millis(200), tcp.accept()).await.is_ok_and(|accepted| accepted.is_ok())
    }

    #[tokio::test]
    async fn only_the_enclave_s_machine_opens_streams() {
        let (enclave, tcp, callback) = attached().await;
        let _before = TcpStream::connect(callback).await.unwrap();
        assert!(!takes(&tcp).await, "nobody, before the enclave was reached");
        let _stream = tcp.connect().await.unwrap();
        enclave.accept().await.unwrap();
        let _from_it = TcpStream::connect(callback).await.unwrap();
        assert!(takes(&tcp).await);
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut other = other.connect(callback).await.unwrap();
        assert!(!takes(&tcp).await, "another machine");
        assert!(matches!(other.read(&mut [0]).await, Ok(0) | Err(_)), "it is hung up on");
    }

    #[tokio::test]
    async fn a_stream_is_read_and_written_and_blocks_when_asked_to() {
        let (enclave, tcp, _) = attached().await;
        let mut stream = tcp.connect().await.unwrap();
        let (mut served, _) = enclave.accept().await.unwrap();
        stream.write_all(b"there").await.unwrap();
        let mut bytes = [0; 5];
        served.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"there");
        let echo = tokio::spawn(async move {
            let mut bytes = [0; 5];
            served.read_exact(&mut bytes).await.unwrap();
            served.write_all(&bytes).await.unwrap();
        });
        let mut stream = Blocking::new(stream).unwrap();
        let back = spawn_blocking(move || {
            let mut bytes = [0; 5];
            stream.write_all(b"again").unwrap();
            stream.read_exact(&mut bytes).unwrap();
            bytes
        });
        assert_eq!(&back.await.unwrap(), b"again");
        echo.await.unwrap();
    }
}
