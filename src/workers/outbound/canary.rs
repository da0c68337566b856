//! A listener on this machine that counts its callers: for tests of what must not be reached.

use super::target::Target;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server that gives each caller the same answer and counts them.
pub(crate) struct Canary {
    pub(crate) port: u16,
    callers: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Canary {
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let callers = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&callers);
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut head = [0; 4_096];
                    let taken = stream.read(&mut head).await.unwrap_or_default();
                    // An answer of nothing is none: the caller waits.
                    if taken > 0 && !answer.is_empty() {
                        stream.write_all(&answer).await.unwrap_or_default();
                        stream.shutdown().await.unwrap_or_default();
                    } else {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { port, callers, serving }
    }

    pub(crate) fn callers(&self) -> usize {
        self.callers.load(Ordering::SeqCst)
    }

    pub(crate) fn target(&self) -> Target {
        Target::parse(&format!("http://127.0.0.1:{}/", self.port)).unwrap()
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An answer of 200 with this body.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// An answer that leads elsewhere.
pub(crate) fn redirect(status: u16, to: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Go\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .into_bytes()
}
