//! A small blocking HTTP/1.1 client and server side, which shows and sends exact bytes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A byte stream in both directions.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Reads give up after this long.
pub const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// One keep-alive connection.
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

/// A message as it arrived: a request's or a response's.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Header names in lower case, with values.
    pub headers: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
}

impl Message {
    /// A response's status.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// A request's method and path.
    pub fn target(&self) -> (&str, &str) {
        let mut words = self.start.split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.start, self.text()))
    }

    /// `error.data.error_code` of a JSON-RPC error, or `error.code` of any other.
    pub fn error_code(&self) -> String {
        let json = self.json();
        let code = json.pointer("/error/data/error_code").or_else(|| json.pointer("/error/code"));
        code.and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

impl Connection {
    /// Connects over TCP.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self::over(stream))
    }

    /// Speaks over any stream.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: BufReader::new(Box::new(stream)) }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Reads one message.
    pub fn receive(&mut self) -> io::Result<Message> {
        read_message(&mut self.stream)
    }

    /// Sends a request and reads the response.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Message> {
        self.send(&request_bytes(method, path, headers, body))?;
        self.receive()
    }

    /// Whether the other side closes without another byte.
    pub fn is_closed_by_peer(&mut self) -> bool {
        matches!(self.stream.fill_buf(), Ok([])) || self.stream.fill_buf().is_err()
    }
}

/// An answer that may be an event stream, which is read event by event.
pub struct Events {
    connection: Connection,
    /// The head; with the body, if it is not an event stream.
    pub head: Message,
    text: Vec<u8>,
}

impl Events {
    /// Sends a request and reads the answer, of an event stream the head only.
    pub fn open(
        mut connection: Connection,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Self> {
        connection.send(&request_bytes(method, path, headers, body))?;
        let mut head = read_head(&mut connection.stream)?;
        if head.header("content-type") != Some("text/event-stream") {
            read_body(&mut connection.stream, &mut head)?;
        }
        Ok(Self { connection, head, text: Vec::new() })
    }

    /// Whether it is an event stream.
    pub fn streams(&self) -> bool {
        self.head.header("content-type") == Some("text/event-stream")
    }

    /// The data of the next event as it was sent; nothing at the end of the stream.
    pub fn next_data(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.text.windows(2).position(|bytes| bytes == b"\n\n") {
                let event: Vec<u8> = self.text.drain(..end + 2).collect();
                let event = String::from_utf8_lossy(&event).into_owned();
                let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                if !data.is_empty() {
                    return Ok(Some(data.join("\n")));
                }
                continue;
            }
            let chunk = chunk(&mut self.connection.stream)?;
            if chunk.is_empty() {
                return Ok(None);
            }
            self.text.extend(chunk);
        }
    }

    /// The next event's data as JSON.
    pub fn next_json(&mut self) -> Value {
        let data = self.next_data().expect("a stream").expect("an event");
        serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"))
    }

    /// The body as JSON, or of an event stream the next event.
    pub fn next_json_or_body(mut self) -> Value {
        if self.streams() { self.next_json() } else { self.head.json() }
    }

    /// The answer: the body, or the last event of the stream in its place.
    pub fn message(mut self) -> io::Result<Message> {
        if self.streams() {
            while let Some(data) = self.next_data()? {
                self.head.body = data.into_bytes();
            }
        }
        Ok(self.head)
    }
}

/// The bytes of a request.
pub fn request_bytes(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    if !body.is_empty() || method == "POST" {
        head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
    }
    head += "\r\n";
    [head.as_bytes(), body].concat()
}

/// The bytes of a response.
pub fn response_bytes(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Reads one request or response with its body.
pub fn read_message(stream: &mut impl BufRead) -> io::Result<Message> {
    let mut message = read_head(stream)?;
    read_body(stream, &mut message)?;
    Ok(message)
}

fn read_head(stream: &mut impl BufRead) -> io::Result<Message> {
    let mut message = Message { start: line(stream)?, ..Message::default() };
    loop {
        let header = line(stream)?;
        let Some((name, value)) = header.split_once(':') else { break };
        message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(message)
}

fn read_body(stream: &mut impl BufRead, message: &mut Message) -> io::Result<()> {
    if message.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        message.body = chunks(stream)?;
    } else if let Some(length) = message.header("content-length").and_then(|value| value.parse().ok()) {
        message.body = exactly(stream, length)?;
    }
    Ok(())
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn exactly(stream: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let chunk = chunk(stream)?;
        if chunk.is_empty() {
            return Ok(body);
        }
        body.extend(chunk);
    }
}

/// The next chunk; an empty one ends the body.
fn chunk(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let size = usize::from_str_radix(line(stream)?.split(';').next().unwrap_or_default().trim(), 16)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if size == 0 {
        while line(stream).is_ok_and(|trailer| !trailer.is_empty()) {}
        return Ok(Vec::new());
    }
    let chunk = exactly(stream, size)?;
    line(stream)?;
    Ok(chunk)
}
