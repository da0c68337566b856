//! Venues on this machine: one that answers requests as a test says, and one that replays frames over a WebSocket and
//! misbehaves as a test says. Both listen on free loopback ports and end with the test.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use futures_util::{SinkExt as _, StreamExt as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Message, handshake};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use tokio_util::sync::{CancellationToken, DropGuard};

/// An answer: status, headers, body.
pub(crate) type Answered = (u16, Vec<(&'static str, String)>, String);

/// A good answer.
pub(crate) fn good(body: impl Into<String>) -> Answered {
    (200, Vec::new(), body.into())
}

/// A venue that answers requests.
pub(crate) struct Rest {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _stop: DropGuard,
}

impl Rest {
    /// One that answers path and query as `answer` says; it is told how many requests came before.
    pub(crate) async fn start(answer: impl Fn(&str, usize) -> Answered + Send + Sync + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), answer).await
    }

    /// The same at an address, where one was before.
    pub(crate) async fn start_at(
        address: SocketAddr,
        answer: impl Fn(&str, usize) -> Answered + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noted, answer, ending) = (Arc::clone(&asked), Arc::new(answer), stop.clone());
        let handler = move |request: Request<Body>| {
            let path = request.uri().path_and_query().unwrap().to_string();
            let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
            async move {
                let before = {
                    let mut noted = noted.lock().unwrap();
                    noted.push(path.clone());
                    noted.len() - 1
                };
                let (status, headers, body) = answer(&path, before);
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                response.body(Body::from(body)).unwrap()
            }
        };
        let router: Router = Router::new().fallback(handler);
        tokio::spawn(async move {
            axum::serve(listener, router).with_graceful_shutdown(ending.cancelled_owned()).await.unwrap();
        });
        Self { address, asked, _stop: stop.drop_guard() }
    }

    /// What was asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// What a venue does on one connection, step by step.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Waits until something with this text in it is said.
    Hear(&'static str),
    /// Sends a frame.
    Say(String),
    /// Sends a ping and waits for its pong.
    Ping,
    /// Answers nothing any more, not even pings, until the other side is gone.
    Freeze,
    /// Drops the connection without a word.
    Drop,
    /// Closes it in order.
    Close,
    /// Waits until the other side is gone, answering pings.
    Hold,
}

/// Frames, one step each.
pub(crate) fn say<S: Into<String>>(frames: impl IntoIterator<Item = S>) -> Vec<Step> {
    frames.into_iter().map(|frame| Step::Say(frame.into())).collect()
}

/// A venue that is listened to.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    _stop: DropGuard,
}

impl Stage {
    /// One whose connections, one after the other, go by these scripts; the last script serves all later ones.
    pub(crate) async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noted, ending) = (Arc::clone(&heard), stop.clone());
        tokio::spawn(async move {
            let mut number = 0;
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = ending.cancelled() => return,
                };
                let (stream, _) = accepted.unwrap();
                let script = scripts[number.min(scripts.len() - 1)].clone();
                number += 1;
                let (noted, ending) = (Arc::clone(&noted), ending.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = play(stream, script, noted) => {}
                        () = ending.cancelled() => {}
                    }
                });
            }
        });
        Self { address, heard, _stop: stop.drop_guard() }
    }

    /// What was said to it, in order: the path of each connection, and texts.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

async fn play(stream: TcpStream, script: Vec<Step>, heard: Arc<Mutex<Vec<String>>>) {
    let noted = Arc::clone(&heard);
    #[expect(clippy::result_large_err, reason = "the type of the library")]
    let callback = move |request: &handshake::server::Request, response| {
        noted.lock().unwrap().push(request.uri().to_string());
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async(stream, callback).await else { return };
    for step in script {
        match step {
            Step::Say(text) => {
                if socket.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
            Step::Hear(wanted) => {
                while !next_text(&mut socket, &heard).await.is_some_and(|text| text.contains(wanted)) {}
            }
            Step::Ping => {
                socket.send(Message::Ping(b"17".to_vec().into())).await.unwrap();
                loop {
                    match socket.next().await {
                        Some(Ok(Message::Pong(payload))) => {
                            assert_eq!(payload.as_ref(), b"17");
                            break;
                        }
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return,
                    }
                }
            }
            // Nothing is read, so nothing is answered; the sleep only ends with the test.
            Step::Freeze => tokio::time::sleep(Duration::from_mins(10)).await,
            Step::Drop => return,
            Step::Close => {
                socket.close(None).await.unwrap_or_default();
                return;
            }
            Step::Hold => while next_text(&mut socket, &heard).await.is_some() {},
        }
    }
}

async fn next_text(socket: &mut WebSocketStream<TcpStream>, heard: &Mutex<Vec<String>>) -> Option<String> {
    loop {
        match socket.next().await? {
            Ok(Message::Text(text)) => {
                heard.lock().unwrap().push(text.to_string());
                return Some(text.to_string());
            }
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}
