//! A process that the host starts and a test moves: its standard input and output are relayed to the test.
//!
//! `puppet ADDRESS [TEXT]`: says to the test who it is, and TEXT on its standard error. It ends when the test hangs up, and
//! not when its input ends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use serde_json::json;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let mut test = TcpStream::connect(&words[1]).expect("the test listens");
    let env: Vec<(String, String)> = std::env::vars().collect();
    let folder = std::env::current_dir().expect("a folder");
    let itself = json!({"pid": std::process::id(), "env": env, "folder": folder});
    test.write_all(format!("{itself}\n").as_bytes()).expect("the test reads");
    if let Some(text) = words.get(2) {
        eprintln!("{text}");
    }
    let mut inward = test.try_clone().expect("a second handle");
    thread::spawn(move || {
        relay(std::io::stdin().lock(), &mut inward);
        let _ = inward.shutdown(Shutdown::Write);
    });
    relay(test, std::io::stdout().lock());
}

/// By hand: `std::io::copy` would splice, and a spliced message may wait for the next one.
fn relay(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}
