//! A tool server that costs as little as possible: it answers everything but `tools/list` with one fixed result.
//! Usage: `bench-upstream [CERTIFICATE.pem KEY.pem] ADDRESS`, with a certificate over TLS.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tests::setup::listed_tools;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const RESULT: &str = r#"{"content":[{"type":"text","text":"{\"contacts\":[{\"id\":\"003Qy00000A1\",\"name\":\"Ada Okafor\"}],\"total_count\":1}"}],"structuredContent":{"contacts":[{"id":"003Qy00000A1","name":"Ada Okafor"}],"total_count":1},"isError":false}"#;

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (address, acceptor) = match words.as_slice() {
        [address] => (address, None),
        [certificate, key, address] => (address, Some(acceptor(certificate, key))),
        _ => panic!("usage: bench-upstream [CERTIFICATE.pem KEY.pem] ADDRESS"),
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    None => serve(stream).await,
                    Some(acceptor) => serve(acceptor.accept(stream).await?).await,
                }
            });
        }
    })
}

fn acceptor(certificate: &str, key: &str) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(certificate).expect("a certificate").collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.expect("a certificate"), key);
    TlsAcceptor::from(Arc::new(config.expect("a key for the certificate")))
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(8192);
    let tools = listed_tools();
    loop {
        while let Some(end) = request_end(&buffer) {
            let id = member(&buffer[..end], b"\"id\":").to_owned();
            let result = if is_list(&buffer[..end]) { &tools } else { RESULT };
            buffer.drain(..end);
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await?;
            stream.flush().await?;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Whether the request is `tools/list`; its method is in the first bytes of its body.
fn is_list(request: &[u8]) -> bool {
    let body = find(request, b"\r\n\r\n").unwrap_or_default();
    find(&request[body..request.len().min(body + 100)], b"\"tools/list\"").is_some()
}

/// Length of the first whole request in the buffer.
fn request_end(buffer: &[u8]) -> Option<usize> {
    let head = find(buffer, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let end = head + length.unwrap_or(0);
    (buffer.len() >= end).then_some(end)
}

/// The text after the last such key, up to the end of the value; ids of the load generators are plain numbers.
fn member<'a>(request: &'a [u8], key: &[u8]) -> &'a str {
    let start = find(request, key).map_or(0, |at| at + key.len());
    let rest = &request[start..];
    let end = rest.iter().position(|byte| matches!(byte, b',' | b'}')).unwrap_or(0);
    std::str::from_utf8(&rest[..end]).unwrap_or("null")
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
