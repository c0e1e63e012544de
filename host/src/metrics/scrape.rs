//! Reading another host's `/metrics`.

use std::io;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits;

/// Why there are no metrics.
#[derive(Debug, Error)]
pub enum ScrapeError {
    /// Nobody is there.
    #[error("nothing listens at {0} ({1}); start the gateway with --metrics {0}, or name its address with --metrics")]
    Connect(String, io::Error),
    /// It was too slow.
    #[error("{} did not answer within {} s", .0, limits::SCRAPE_TIMEOUT.as_secs())]
    Silent(String),
    /// It is something else.
    #[error("{0} does not serve the metrics of a gateway: {1}")]
    NotMetrics(String, String),
}

/// The page at `http://{address}/metrics`.
///
/// # Errors
/// Nobody answers there, or not with such a page.
pub async fn page(address: &str) -> Result<String, ScrapeError> {
    let silent = |_| ScrapeError::Silent(address.to_owned());
    let connect = TcpStream::connect(address);
    let stream = timeout(limits::SCRAPE_TIMEOUT, connect).await.map_err(silent)?;
    let stream = stream.map_err(|error| ScrapeError::Connect(address.to_owned(), error))?;
    let body = timeout(limits::SCRAPE_TIMEOUT, get(stream, address)).await.map_err(silent)?;
    body.map_err(|reason| ScrapeError::NotMetrics(address.to_owned(), reason))
}

/// HTTP/1.0: the answer comes in one piece and ends with the connection.
async fn get(mut stream: TcpStream, address: &str) -> Result<String, String> {
    let mut answer = Vec::new();
    let exchange = async {
        stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        stream.take(limits::SCRAPE_ANSWER).read_to_end(&mut answer).await
    };
    exchange.await.map_err(|error: io::Error| error.to_string())?;
    let answer = String::from_utf8(answer).map_err(|_| "its answer is not text".to_owned())?;
    body(&answer).map(str::to_owned)
}

/// The body of a complete answer with status 200.
fn body(answer: &str) -> Result<&str, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("its answer is not HTTP")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.split_once(' '));
    match status {
        Some((_, status)) if status.starts_with("200") => {}
        Some((_, status)) => return Err(format!("it answers {status:?}")),
        None => return Err("its answer is not HTTP".to_owned()),
    }
    let length =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match length {
        Some((_, length)) if length.trim().parse() != Ok(body.len()) => Err("its answer is cut off".to_owned()),
        _ => Ok(body),
    }
}

/// One line of a page.
#[derive(Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Name of the metric.
    pub name: &'a str,
    /// Labels in order, with their values.
    pub labels: Vec<(&'a str, String)>,
    /// The value, as written.
    pub value: &'a str,
}

impl Sample<'_> {
    /// Value of a label; empty if it is not there, which means the same.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value.as_str())
    }
}

/// The samples of a page.
///
/// # Errors
/// The first line that is not one.
pub fn samples(page: &str) -> Result<Vec<Sample<'_>>, String> {
    let lines = page.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|line| sample(line).ok_or_else(|| format!("not a sample: {line:?}"))).collect()
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at_checked(end)?;
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.push((label, value));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_ascii_whitespace().next()?;
    value.parse::<f64>().ok()?;
    Some(Sample { name, labels, value })
}

/// A label value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, text.get(at + 1..)?)),
            (_, '\\') => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_is_taken() {
        assert_eq!(body("HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\na 1\n"), Ok("a 1\n"));
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\na 1\n"), Ok("a 1\n"));
        for answer in [
            "",
            "a 1\n",
            "HTTP/1.0 404 Not Found\r\n\r\na 1\n",
            "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\na 1\n",
            "HTTP/1.0 200 OK\r\ncontent-length: -\r\n\r\na 1\n",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert!(body(answer).is_err(), "{answer:?}");
        }
    }

    #[test]
    fn samples_are_read_as_written() {
        let page =
            "# HELP a b\n# TYPE a counter\na 1\n\na{x=\"1\"} 2.5\nb{tool=\"q\\\"\\\\ \\n},{\",le=\"+Inf\"} +Inf 17\n";
        let read = samples(page).unwrap();
        let labels: Vec<_> = read.iter().map(|sample| (sample.name, sample.value, sample.label("x"))).collect();
        assert_eq!(labels, [("a", "1", ""), ("a", "2.5", "1"), ("b", "+Inf", "")]);
        assert_eq!((read[2].label("tool"), read[2].label("le")), ("q\"\\ \n},{", "+Inf"));
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        for line in ["", " ", "a", "a{", "a{x", "a{x=\"", "a{x=\"1\"", "a{x=\"1\"}", "a{x=\"1\\", "a b", "<html> x"] {
            assert_eq!(sample(line), None, "{line:?}");
        }
        assert!(samples("<html>\n").is_err());
    }
}
