//! TCP: between two machines that share nothing but a network.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::limits;

/// Listens on every address, IPv6 and IPv4; on IPv4 alone where the kernel has no IPv6.
pub(super) fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = bind(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into());
    let socket = socket.or_else(|_| bind(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into()))?;
    TcpListener::from_std(socket.into())
}

fn bind(domain: Domain, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    Ok(socket)
}

/// The next stream, and the address that it came from: IPv4 as IPv4, port 0.
pub(super) async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, mut from) = listener.accept().await?;
    tune(&stream)?;
    from.set_ip(from.ip().to_canonical());
    from.set_port(0);
    Ok((stream, from))
}

/// A port that is none becomes 0, where nothing listens.
pub(super) fn callback(mut peer: SocketAddr, port: u32) -> SocketAddr {
    peer.set_port(u16::try_from(port).unwrap_or_default());
    peer
}

pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(limits::ANSWER_TIMEOUT, TcpStream::connect(address)).await??;
    tune(&stream)?;
    Ok(stream)
}

/// Small frames leave at once, and a peer that is gone without a word is noticed: the end of the control stream is the end of the boot.
fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let probes = TcpKeepalive::new()
        .with_time(limits::PROBE_PAUSE)
        .with_interval(limits::PROBE_PAUSE)
        .with_retries(limits::PROBES);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(limits::SILENT_PEER))
}
