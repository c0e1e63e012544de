//! How streams reach the enclave and how it opens its own. The transport is never trusted.

mod tcp;
mod unix;
mod vsock;

use std::fmt;
use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};

/// A bidirectional byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A stream of any kind of transport.
pub type BoxStream = Box<dyn Stream>;

/// Where the enclave listens, from its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket; streams towards the host go to the same path plus `_` and the callback port.
    Unix(PathBuf),
    /// A vsock port of this VM; streams towards the host go to the context that the control stream came from.
    Vsock(u32),
    /// A TCP port on every address; streams towards the host go to the address that the control stream came from.
    Tcp(u16),
}

impl Address {
    /// Reads `unix:PATH`, `vsock:PORT` or `tcp:PORT`.
    ///
    /// # Errors
    /// What is accepted, as text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let port =
            |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u32>().ok()).flatten();
        let address = match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Some(Self::Unix(PathBuf::from(path))),
            // The highest number means any port.
            Some(("vsock", number)) => port(number).filter(|port| *port < u32::MAX).map(Self::Vsock),
            Some(("tcp", number)) => {
                port(number).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).map(Self::Tcp)
            }
            _ => None,
        };
        address.ok_or_else(|| format!("address {text:?} is none of unix:PATH, vsock:PORT and tcp:PORT"))
    }

    /// Starts to listen.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&self) -> io::Result<Listener> {
        Ok(Listener(match self {
            Self::Unix(path) => Listening::Unix(unix::listen(path)?),
            Self::Vsock(port) => Listening::Vsock(vsock::Listener::bind(*port)?),
            Self::Tcp(port) => Listening::Tcp(tcp::listen(*port)?),
        }))
    }

    /// Where streams towards the host go, given where its control stream came from and the port that it named there.
    pub fn callback(&self, peer: Peer, port: u32) -> Callback {
        match (self, peer) {
            (Self::Unix(path), _) => Callback::Unix(unix::callback(path, port)),
            (_, Peer::Ip(address)) => Callback::Tcp(tcp::callback(address, port)),
            (_, Peer::Context(cid)) => Callback::Vsock { cid, port },
            (_, Peer::Local) => Callback::Nowhere,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Vsock(port) => write!(out, "vsock:{port}"),
            Self::Tcp(port) => write!(out, "tcp:{port}"),
        }
    }
}

/// Where a stream came from, without its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine, over a Unix socket.
    Local,
    /// A vsock context: another machine's, the host's, or this machine's own.
    Context(u32),
    /// An IP address; its port is 0.
    Ip(std::net::SocketAddr),
}

/// Accepts the host's streams.
pub struct Listener(Listening);

enum Listening {
    Unix(wire::Listener),
    Vsock(vsock::Listener),
    Tcp(tokio::net::TcpListener),
}

impl Listener {
    /// The next stream, and where it came from.
    ///
    /// # Errors
    /// The system's.
    pub async fn accept(&self) -> io::Result<(BoxStream, Peer)> {
        match &self.0 {
            Listening::Unix(listener) => {
                let stream = unix::accept(listener).await?;
                Ok((Box::new(stream), Peer::Local))
            }
            Listening::Vsock(listener) => {
                let (stream, cid) = listener.accept().await?;
                Ok((Box::new(stream), Peer::Context(cid)))
            }
            Listening::Tcp(listener) => {
                let (stream, address) = tcp::accept(listener).await?;
                Ok((Box::new(stream), Peer::Ip(address)))
            }
        }
    }
}

/// Opens streams towards the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callback {
    /// To a Unix socket.
    Unix(PathBuf),
    /// To a port of a vsock context.
    Vsock {
        /// The context.
        cid: u32,
        /// The port.
        port: u32,
    },
    /// To a TCP port.
    Tcp(std::net::SocketAddr),
    /// There is no way back.
    Nowhere,
}

impl Callback {
    /// A new stream.
    ///
    /// # Errors
    /// The system's.
    pub async fn open(&self) -> io::Result<BoxStream> {
        match self {
            Self::Unix(path) => Ok(Box::new(unix::connect(path).await?)),
            Self::Vsock { cid, port } => Ok(Box::new(vsock::connect(*cid, *port).await?)),
            Self::Tcp(address) => Ok(Box::new(tcp::connect(*address).await?)),
            Self::Nowhere => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Callback, Peer};

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        for text in ["unix:/run/e.sock", "vsock:5000", "vsock:4294967294", "tcp:1", "tcp:65535"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for bad in [
            "",
            "unix:",
            "unix",
            "vsock:",
            "vsock:-1",
            "vsock:+1",
            "vsock:4294967295",
            "vsock:4294967296",
            "vsock:1:5000",
            "tcp:0",
            "tcp:65536",
            "tcp:10.0.0.1:5000",
            "tcp: 5000",
            "http:5000",
        ] {
            let error = Address::parse(bad).unwrap_err();
            assert!(error.contains("unix:PATH, vsock:PORT and tcp:PORT"), "{bad}: {error}");
        }
    }

    #[test]
    fn streams_go_back_to_where_the_control_stream_came_from() {
        let ip = Peer::Ip("10.0.0.7:0".parse().unwrap());
        assert_eq!(Address::Tcp(5000).callback(ip, 5001), Callback::Tcp("10.0.0.7:5001".parse().unwrap()),);
        // No such port: nothing listens at port 0, so opening fails.
        assert_eq!(Address::Tcp(5000).callback(ip, 70_000), Callback::Tcp("10.0.0.7:0".parse().unwrap()));
        assert_eq!(Address::Vsock(5000).callback(Peer::Context(2), 1024), Callback::Vsock { cid: 2, port: 1024 });
        assert_eq!(
            Address::Unix("/run/e.sock".into()).callback(Peer::Local, 1024),
            Callback::Unix("/run/e.sock_1024".into()),
        );
    }
}
