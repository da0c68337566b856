//! What a service manager hands over and is told, with the test in the manager's place.

use super::{CLOSED, OPEN, PATIENCE, Place, Service, ended, program, signal};
use crate::support::{Backend, request};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A socket in the manager's place, and what came through it.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &std::path::Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next message with this line in it.
    fn next(&self, wanted: &str) -> String {
        let (started, mut bytes) = (Instant::now(), [0; 4096]);
        while started.elapsed() < PATIENCE {
            let length = self.0.recv(&mut bytes).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
            if message.lines().any(|line| line == wanted) {
                return message;
            }
        }
        panic!("no {wanted}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_when_it_is_ready_gives_signs_of_life_and_says_that_it_ends() {
    let place = Place::new(Backend::Sqlite).await;
    let path = place.folder().join("notify");
    let manager = Manager::at(&path);
    let data = place.data().display().to_string();
    let mut command = program(place.folder(), &[&["serve", "--data", &data], OPEN.as_slice()].concat());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    let service = Service::start(command);
    let ready = manager.next("READY=1");
    assert!(ready.contains(&format!("STATUS=artifact {}", env!("CARGO_PKG_VERSION"))), "{ready}");
    assert!(service.api.healthy().await, "it was not ready when it said so");
    let started = Instant::now();
    for _ in 0..4 {
        manager.next("WATCHDOG=1");
    }
    // Three signs within the time after which the manager would end it: one may be lost.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    service.terminate();
    manager.next("STOPPING=1");
    assert_eq!(service.end(Duration::from_secs(15)), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_given_to_the_watchdog_of_another_process() {
    let place = Place::new(Backend::Sqlite).await;
    let path = place.folder().join("notify");
    let manager = Manager::at(&path);
    let data = place.data().display().to_string();
    let mut command = program(place.folder(), &[&["serve", "--data", &data], OPEN.as_slice()].concat());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "30000").env("WATCHDOG_PID", "1");
    let service = Service::start(command);
    manager.next("READY=1");
    service.terminate();
    let (mut bytes, mut said) = ([0; 4096], Vec::new());
    while !said.iter().any(|text: &String| text.contains("STOPPING=1")) {
        let length = manager.0.recv(&mut bytes).unwrap();
        said.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
    }
    assert!(!said.iter().any(|text| text.contains("WATCHDOG=1")), "{said:?}");
    assert_eq!(service.end(Duration::from_secs(15)), 0);
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_on_the_sockets_it_is_handed() {
    let place = Place::new(Backend::Sqlite).await;
    let (service, metrics) = (free_address(), free_address());
    let data = place.data().display().to_string();
    let mut child = Command::new("systemd-socket-activate")
        .args([&format!("--listen={service}"), &format!("--listen={metrics}"), "--fdname=service:metrics"])
        .args([env!("CARGO_BIN_EXE_artifact"), "serve", "--data", &data])
        .args(CLOSED)
        .current_dir(place.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`make needs` installs systemd");
    let started = Instant::now();
    while std::net::TcpStream::connect(service).is_err() {
        assert!(started.elapsed() < PATIENCE, "nobody opened the socket");
        std::thread::sleep(Duration::from_millis(5));
    }
    // That connection has started it; this request waits in the socket until it answers.
    request(service, "GET", "/health", &[], b"").await.expect(200);
    assert_eq!(request(service, "GET", "/metrics", &[], b"").await.code(401), "unauthorized");
    assert_eq!(request(metrics, "GET", "/metrics", &[], b"").await.status, 200);
    assert_eq!(request(metrics, "GET", "/markets", &[], b"").await.code(404), "not_found");
    signal("TERM", child.id());
    let status = ended(&mut child, Duration::from_secs(15)).expect("an end");
    assert_eq!(status.code(), Some(0));
}
