//! The few forms of URL that a tool server has (RFC 3986, restricted).

use thiserror::Error;

/// Longest URL in bytes.
const LONGEST: usize = 2048;

/// Longest host name in bytes (RFC 1035, section 2.3.4).
const LONGEST_HOST: usize = 253;

/// Where a tool server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// With or without TLS.
    pub scheme: Scheme,
    /// DNS name or IP address in lower case; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query, from `/`: the request target.
    pub target: String,
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// What is wrong with a URL, as the text of what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Too long, or a character that URLs do not have.
    #[error("at most {LONGEST} printable ASCII characters without spaces, quotes or backslashes")]
    Characters,
    /// Another scheme, or none.
    #[error("a url that starts with http:// or https://")]
    Scheme,
    /// A user name or password.
    #[error("a url without user name and password")]
    Credentials,
    /// A fragment.
    #[error("a url without #fragment")]
    Fragment,
    /// No host, or not one.
    #[error("a host name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
    /// Not a port.
    #[error("a port from 1 to 65535")]
    Port,
}

impl Endpoint {
    /// Reads a URL.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        if url.len() > LONGEST || url.bytes().any(|byte| !byte.is_ascii_graphic() || br#""<>\^`{|}"#.contains(&byte)) {
            return Err(UrlError::Characters);
        }
        let (scheme, rest) = scheme(url)?;
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        let (host, port) = authority_parts(authority, scheme)?;
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { scheme, host, port, target: format!("{slash}{target}") })
    }

    /// Host and port as an HTTP/1.1 `Host` field (RFC 9112, section 3.2): the default port is left out.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.scheme) { host } else { format!("{host}:{}", self.port) }
    }
}

fn scheme(url: &str) -> Result<(Scheme, &str), UrlError> {
    let (name, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
    match name.to_ascii_lowercase().as_str() {
        "http" => Ok((Scheme::Http, rest)),
        "https" => Ok((Scheme::Https, rest)),
        _ => Err(UrlError::Scheme),
    }
}

fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

fn authority_parts(authority: &str, scheme: Scheme) -> Result<(String, u16), UrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
        let address: std::net::Ipv6Addr = address.parse().map_err(|_| UrlError::Host)?;
        let port = match rest {
            "" => default_port(scheme),
            rest => port(rest.strip_prefix(':').ok_or(UrlError::Port)?)?,
        };
        return Ok((address.to_string(), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, digits)) => (host, port(digits)?),
        None => (authority, default_port(scheme)),
    };
    if !is_host(host) {
        return Err(UrlError::Host);
    }
    Ok((host.to_ascii_lowercase(), port))
}

fn port(digits: &str) -> Result<u16, UrlError> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::Port);
    }
    digits.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)
}

/// Labels of letters, digits, `-` and `_`; a name whose last label is a number has to be an IPv4 address, since resolvers
/// read such names as addresses in ways that differ.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X");
    if numeric {
        return host.parse::<std::net::Ipv4Addr>().is_ok();
    }
    host.len() <= LONGEST_HOST && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Scheme, UrlError};

    fn parts(url: &str) -> (Scheme, String, u16, String) {
        let endpoint = Endpoint::parse(url).unwrap();
        (endpoint.scheme, endpoint.host, endpoint.port, endpoint.target)
    }

    #[test]
    fn parts_are_found() {
        assert_eq!(parts("http://localhost:9001/mcp"), (Scheme::Http, "localhost".into(), 9001, "/mcp".into()));
        assert_eq!(parts("https://Tools.Example"), (Scheme::Https, "tools.example".into(), 443, "/".into()));
        assert_eq!(parts("HTTP://10.0.0.1/a?b=c/d"), (Scheme::Http, "10.0.0.1".into(), 80, "/a?b=c/d".into()));
        assert_eq!(parts("http://[::1]:8/x"), (Scheme::Http, "::1".into(), 8, "/x".into()));
        assert_eq!(parts("http://a?b"), (Scheme::Http, "a".into(), 80, "/?b".into()));
    }

    #[test]
    fn authority_omits_the_default_port() {
        assert_eq!(Endpoint::parse("http://[::1]:80/").unwrap().authority(), "[::1]");
        assert_eq!(Endpoint::parse("http://a:443/").unwrap().authority(), "a:443");
    }

    #[test]
    fn everything_else_is_refused() {
        for (url, error) in [
            ("", UrlError::Scheme),
            ("localhost:9001/mcp", UrlError::Scheme),
            ("ftp://a/", UrlError::Scheme),
            ("http://", UrlError::Host),
            ("http:///x", UrlError::Host),
            ("http://a b/", UrlError::Characters),
            ("http://a\\b/", UrlError::Characters),
            ("http://ä/", UrlError::Characters),
            ("http://a/\r\nX: y", UrlError::Characters),
            ("http://user@a/", UrlError::Credentials),
            ("http://a/#b", UrlError::Fragment),
            ("http://a:0/", UrlError::Port),
            ("http://a:65536/", UrlError::Port),
            ("http://a:+1/", UrlError::Port),
            ("http://a:/", UrlError::Port),
            ("http://a..b/", UrlError::Host),
            ("http://-a/", UrlError::Host),
            ("http://127.1/", UrlError::Host),
            ("http://0x7f000001/", UrlError::Host),
            ("http://1.2.3.4.5/", UrlError::Host),
            ("http://[::1/", UrlError::Host),
            ("http://[::1]x/", UrlError::Port),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }
}
