//! The targets' pages and the release system, over HTTP on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::page::Page;

/// All that the daemon talks to.
pub struct Servers {
    pub names: Vec<String>,
    pub system: SocketAddr,
    /// So many of the first targets fail.
    pub failing: AtomicUsize,
    pub served: AtomicU64,
    pub commands: AtomicU64,
}

impl Servers {
    pub fn start(targets: usize, series: usize) -> Arc<Self> {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners: Vec<TcpListener> = (0..targets).map(|_| listen()).collect();
        let system = listen();
        let servers = Arc::new(Self {
            names: listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect(),
            system: system.local_addr().unwrap(),
            failing: AtomicUsize::new(0),
            served: AtomicU64::new(0),
            commands: AtomicU64::new(0),
        });
        for (target, listener) in listeners.into_iter().enumerate() {
            let (servers, page) = (servers.clone(), Mutex::new(Page::new(target, series)));
            serve(listener, move |body| {
                page.lock().unwrap().render(target < servers.failing.load(Ordering::Relaxed), body);
                servers.served.fetch_add(1, Ordering::Relaxed);
            });
        }
        let counted = servers.clone();
        serve(system, move |body| {
            counted.commands.fetch_add(1, Ordering::Relaxed);
            body.extend_from_slice(b"{}");
        });
        servers
    }
}

/// Answers every request with what `answer` writes, a thread for each
/// connection.
fn serve(listener: TcpListener, answer: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer_all(stream, answer.as_ref()));
        }
    });
}

fn answer_all(stream: TcpStream, answer: &(impl Fn(&mut Vec<u8>) + ?Sized)) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    let (mut body, mut line) = (Vec::new(), String::new());
    loop {
        let mut length = 0;
        let mut lines = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            lines += 1;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        if lines == 0 {
            continue;
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).ok()?;
        body.clear();
        answer(&mut body);
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(&body).ok()?;
    }
}

/// A port that nobody listens at now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One request; waits until somebody listens.
pub fn ask(port: u16, method: &str, path: &str, body: &str) -> String {
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
        }
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
