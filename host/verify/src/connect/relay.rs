//! A loopback endpoint for any MCP client: one verified TLS connection for each of the client's, byte for byte.
//!
//! The only bytes that change are in the heads of requests, if there is a token to add. What the gateway says passes as it
//! comes, event streams too.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy, split};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Token;
use super::attested::Attested;
use super::gateway::CONNECT_TIMEOUT;
use super::head;
use super::peer::{Peer, Refusal};

/// Connections at once; more wait.
const CONNECTIONS: usize = 512;
/// For a client that is told why it is not served to read it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves clients until the gateway behind the address is another than was verified; that is the answer.
///
/// # Errors
/// The listener fails.
pub fn relay(attested: &Attested, listener: TcpListener, token: Option<Token>) -> io::Result<Refusal> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(accept(Arc::clone(&attested.peer), listener, token))
}

async fn accept(peer: Arc<Peer>, listener: TcpListener, token: Option<Token>) -> io::Result<Refusal> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (places, token) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(token));
    let (refusals, mut refused) = mpsc::channel(1);
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let client = tokio::select! {
            Some(refusal) = refused.recv() => return Ok(refusal),
            client = listener.accept() => client?.0,
        };
        let (peer, token, refusals) = (Arc::clone(&peer), Arc::clone(&token), refusals.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Some(refusal) = serve(&peer, client, token.as_ref().as_ref()).await {
                let _ = refusals.send(refusal).await;
            }
        });
    }
}

/// One client's connection; why it is the last one, if it is.
async fn serve(peer: &Peer, mut client: TcpStream, token: Option<&Token>) -> Option<Refusal> {
    // What is delayed to be sent together is not ours to guess.
    let _ = client.set_nodelay(true);
    let gateway = match timeout(CONNECT_TIMEOUT, dial(peer)).await {
        Ok(Ok(gateway)) => gateway,
        Ok(Err(Undialled::Refused(refusal))) => {
            turn_away(&mut client, refusal.reason.as_str(), &refusal.text).await;
            return Some(refusal);
        }
        Ok(Err(Undialled::Broken(error))) => {
            turn_away(&mut client, "GATEWAY_UNREACHABLE", &error.to_string()).await;
            return None;
        }
        Err(_) => {
            turn_away(&mut client, "GATEWAY_UNREACHABLE", "no answer in time").await;
            return None;
        }
    };
    if exchange(&mut client, gateway, token).await.is_err() {
        // An end that is none must not look like one to a client that takes the end of the stream for that of the answer.
        let _ = client.set_zero_linger();
    }
    None
}

/// Why there is no connection with the gateway.
enum Undialled {
    Refused(Refusal),
    Broken(io::Error),
}

async fn dial(peer: &Peer) -> Result<TlsStream<TcpStream>, Undialled> {
    let socket = TcpStream::connect((peer.host.as_str(), peer.port)).await.map_err(Undialled::Broken)?;
    let _ = socket.set_nodelay(true);
    let name = peer.name().map_err(Undialled::Broken)?;
    let connecting = TlsConnector::from(peer.tls()).connect(name, socket).await;
    let gateway = connecting.map_err(|error| match peer.refused(&error) {
        Some(refusal) => Undialled::Refused(refusal),
        None => Undialled::Broken(error),
    })?;
    let connection: &ClientConnection = gateway.get_ref().1;
    peer.admit(connection).map_err(Undialled::Refused)?;
    Ok(gateway)
}

/// Until the gateway closes, or either end breaks. A client that has said everything still hears the answer.
async fn exchange(client: &mut TcpStream, gateway: TlsStream<TcpStream>, token: Option<&Token>) -> io::Result<()> {
    let (mut from_gateway, mut to_gateway) = split(gateway);
    let (from_client, mut to_client) = client.split();
    let answers = async {
        copy(&mut from_gateway, &mut to_client).await?;
        to_client.shutdown().await
    };
    let requests = async {
        forward(from_client, &mut to_gateway, token).await?;
        to_gateway.shutdown().await?;
        std::future::pending().await
    };
    tokio::select! {
        ended = answers => ended,
        ended = requests => ended,
    }
}

async fn forward(
    client: ReadHalf<'_>,
    gateway: &mut (impl AsyncWriteExt + Unpin),
    token: Option<&Token>,
) -> io::Result<()> {
    let mut client = BufReader::new(client);
    while let Some(head) = head::read(&mut client).await? {
        let (head, body) = head::with_token(head, token)?;
        gateway.write_all(&head).await?;
        gateway.flush().await?;
        head::pass_body(&mut client, gateway, body).await?;
        gateway.flush().await?;
    }
    Ok(())
}

/// Answers the first request by why it went nowhere.
async fn turn_away(client: &mut TcpStream, code: &str, text: &str) {
    let error = serde_json::json!({"error": {"code": code, "message": text}}).to_string();
    let length = error.len();
    let answer = format!(
        "HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: \
         close\r\n\r\n{error}"
    );
    let _ = timeout(LAST_WORDS, answer_once(client, answer.as_bytes())).await;
}

/// Reads to the end before it closes: unread bytes would make the answer a reset.
async fn answer_once(client: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    let (mut from, mut to): (ReadHalf<'_>, WriteHalf<'_>) = client.split();
    to.write_all(answer).await?;
    to.shutdown().await?;
    let mut rest = [0; 4096];
    while from.read(&mut rest).await? > 0 {}
    Ok(())
}
