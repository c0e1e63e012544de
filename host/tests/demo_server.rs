//! The built `host demo-server`, and the quickstart's use of it.

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};

    use serde_json::Value;

    struct Server {
        child: Child,
        address: String,
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    impl Server {
        fn start() -> Self {
            let mut child = Command::new(env!("CARGO_BIN_EXE_host"))
                .args(["demo-server", "--listen", "127.0.0.1:0"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let address = line.trim().split_once("http://").unwrap().1.trim_end_matches("/mcp").to_owned();
            Self { child, address }
        }

        fn connect(&self) -> BufReader<TcpStream> {
            BufReader::new(TcpStream::connect(&self.address).unwrap())
        }
    }

    /// One request over an open connection: status, headers in lower case, body.
    fn request(stream: &mut BufReader<TcpStream>, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: demo\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut headers = String::new();
        while !headers.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut headers).unwrap() > 0, "closed after {headers:?}");
        }
        let headers = headers.to_ascii_lowercase();
        let length = headers.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        (headers[9..12].parse().unwrap(), headers, String::from_utf8(body).unwrap())
    }

    #[test]
    fn speaks_mcp_over_one_connection() {
        let server = Server::start();
        let mut stream = server.connect();
        let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#;
        let (status, headers, body) = request(&mut stream, "POST", "/mcp", initialize);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["result"]["protocolVersion"]), (200, &"2025-06-18".into()));
        assert!(headers.contains("mcp-session-id: demo-1") && headers.contains("content-type: application/json"));
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(request(&mut stream, "POST", "/mcp", initialized).0, 202);
        let call =
            r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"echo","arguments":{"message":"é"}}}"#;
        let (status, _, body) = request(&mut stream, "POST", "/mcp", call);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["id"]), (200, &"x".into()));
        assert_eq!(body["result"]["content"][0]["text"], r#"{"message":"é"}"#);
        assert_eq!(request(&mut stream, "DELETE", "/mcp", "").0, 200);
    }

    #[test]
    fn refuses_what_it_does_not_serve() {
        let server = Server::start();
        let mut stream = server.connect();
        assert_eq!(request(&mut stream, "GET", "/mcp", "").0, 405);
        assert_eq!(request(&mut stream, "POST", "/other", "{}").0, 404);
        assert_eq!(request(&mut stream, "POST", "/mcp", "nonsense").0, 400);
        assert_eq!(request(&mut server.connect(), "POST", "/mcp", &" ".repeat((4 << 20) + 1)).0, 413);
    }

    #[test]
    fn a_taken_port_is_explained() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let output =
            Command::new(env!("CARGO_BIN_EXE_host")).args(["demo-server", "--listen", &address]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(&address) && said.contains("in use"), "{said}");
    }

    #[test]
    fn the_quickstart_explains_a_taken_port() {
        // Ours, or somebody else's: taken in any case.
        let _taken = TcpListener::bind("127.0.0.1:9001");
        let state = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_host"))
            .args(["--dev-enclave", "--listen", "127.0.0.1:0"])
            .env("XDG_STATE_HOME", state.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("127.0.0.1:9001") && said.contains("--config"), "{said}");
    }
}
