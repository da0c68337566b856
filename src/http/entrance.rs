//! The two ways in, and the streams of bytes that come through them.

use crate::http::auth::Door;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A listener.
#[derive(Debug)]
pub enum Entrance {
    /// The network.
    Network(TcpListener),
    /// The owner's socket.
    Owner(UnixListener),
}

impl Entrance {
    /// The door it leads to.
    pub fn door(&self) -> Door {
        match self {
            Self::Network(_) => Door::Network,
            Self::Owner(_) => Door::Owner,
        }
    }

    /// The next connection, and the address of its other end when it came over the network.
    ///
    /// # Errors
    /// The operating system's; the listener stays good.
    pub async fn accept(&self) -> io::Result<(Link, Option<IpAddr>)> {
        match self {
            Self::Network(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An answer is written whole: waiting for more of it would only delay it.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection ended at once");
                }
                Ok((Link::Tcp(stream), Some(peer.ip().to_canonical())))
            }
            Self::Owner(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Link::Unix(stream), None))
            }
        }
    }
}

/// A connection as a stream of bytes.
#[derive(Debug)]
pub enum Link {
    /// Plain, over the network.
    Tcp(TcpStream),
    /// Through the owner's socket.
    Unix(UnixStream),
    /// Over the network, with TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link {
    /// The same connection, encrypted from here on.
    ///
    /// # Errors
    /// When the client does not speak TLS as the service does.
    pub async fn encrypted(self, acceptor: &TlsAcceptor) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => Ok(Self::Tls(Box::new(acceptor.accept(stream).await?))),
            Self::Unix(_) | Self::Tls(_) => Ok(self),
        }
    }

    /// Has the end of the connection drop what was written and not taken, which the system would otherwise keep for as
    /// long as the client likes.
    pub fn abandon(&self) {
        let ended = match self {
            Self::Tcp(stream) => stream.set_zero_linger(),
            Self::Tls(stream) => stream.get_ref().0.set_zero_linger(),
            Self::Unix(_) => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended before it was cut off");
        }
    }

    /// Waits until the client has sent something, or ended the connection. The owner is not waited for.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn spoken(&self) -> io::Result<()> {
        match self {
            // `readable` would return at once, once.
            Self::Tcp(stream) => stream.peek(&mut [0]).await.map(drop),
            Self::Unix(_) | Self::Tls(_) => Ok(()),
        }
    }
}

/// Calls the same method of whichever stream it is.
macro_rules! each {
    ($link:expr, $stream:ident => $call:expr) => {
        match $link.get_mut() {
            Link::Tcp($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Link::Unix($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Link::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A connection as the service has it, and the client's end of it.
    async fn connection() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Link::Tcp(listener.accept().await.unwrap().0), client)
    }

    async fn in_time<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(5), work).await.unwrap()
    }

    #[tokio::test]
    async fn a_client_has_spoken_once_it_has_sent_something() {
        let (link, mut client) = connection().await;
        assert!(tokio::time::timeout(Duration::from_millis(50), link.spoken()).await.is_err());
        client.write_all(b"G").await.unwrap();
        // As often as it is asked, and nothing is taken by that.
        for _ in 0..2 {
            in_time(link.spoken()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_end_is_told_to_the_client_before_the_connection_is_dropped() {
        let (mut link, mut client) = connection().await;
        link.write_all(b"bye").await.unwrap();
        link.shutdown().await.unwrap();
        let mut said = String::new();
        in_time(client.read_to_string(&mut said)).await.unwrap();
        assert_eq!(said, "bye");
        drop(link);
    }

    #[tokio::test]
    async fn what_is_abandoned_is_cut_off_and_not_kept_for_the_client() {
        let (link, mut client) = connection().await;
        link.abandon();
        drop(link);
        let read = in_time(client.read(&mut [0])).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
