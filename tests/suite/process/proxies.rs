//! The shipped examples of reverse proxies, started as they are but for their ports, and TLS without one.

use super::{Place, Service, ended, signal};
use crate::support::Backend;
use artifact::workers::outbound::address::Reach;
use artifact::workers::outbound::authorities::Authorities;
use artifact::workers::outbound::target::Target;
use artifact::workers::outbound::{Outbound, Outgoing};
use serde_json::json;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A port nobody uses just now.
fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn example(name: &str) -> String {
    std::fs::read_to_string(format!("{}/deploy/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A text in which each of these occurs, with the other in its place.
fn substituted(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "the example has no `{old}`");
        text.replace(old, new)
    })
}

/// Makes a certificate and its key, of which openssl is told the rest.
fn made(key: &str, certificate: &str, more: &[&str]) {
    let kind =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let ends = ["-keyout", key, "-out", certificate];
    let made = Command::new("openssl").args(kind).args(more).args(ends).stderr(Stdio::null()).status();
    assert!(made.unwrap().success());
}

/// A certificate for localhost that signs itself.
pub(super) fn certificate(folder: &Path, name: &str) -> (String, String) {
    let file = |ending: &str| folder.join(format!("{name}.{ending}")).display().to_string();
    let (certificate, key) = (file("pem"), file("key"));
    let subject = format!("/CN={name}");
    made(&key, &certificate, &["-subj", &subject, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    (certificate, key)
}

/// An authority of one's own, and a certificate for localhost from it: the files of the authority, the certificate and
/// its key.
fn from_an_authority(folder: &Path) -> [String; 3] {
    let file = |name: &str| folder.join(name).display().to_string();
    let [authority, authority_key] = [file("authority.pem"), file("authority.key")];
    let [leaf, leaf_key] = [file("leaf.pem"), file("leaf.key")];
    made(&authority_key, &authority, &["-subj", "/CN=authority"]);
    let names = [
        "-subj",
        "/CN=leaf",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=CA:FALSE",
    ];
    made(&leaf_key, &leaf, &[&names[..], &["-CA", &authority, "-CAkey", &authority_key]].concat());
    [authority, leaf, leaf_key]
}

/// A proxy, ended when it is dropped.
struct Proxy(Child);

impl Proxy {
    fn start(mut command: Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        signal("TERM", self.0.id());
        if ended(&mut self.0, Duration::from_secs(10)).is_none() {
            self.0.kill().unwrap();
        }
    }
}

fn nginx(folder: &Path, service: SocketAddr) -> (Proxy, String) {
    let (certificate, key) = certificate(folder, "nginx");
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let site = substituted(
        &example("nginx/artifact.conf"),
        &[
            ("listen 443 ssl", &format!("listen {address} ssl")),
            ("server 127.0.0.1:7000", &format!("server {service}")),
            ("/etc/ssl/artifact/certificate.pem", &certificate),
            ("/etc/ssl/artifact/key.pem", &key),
        ],
    );
    let place = folder.display();
    let whole = format!(
        "daemon off; pid {place}/nginx.pid; error_log {place}/nginx.log;\nevents {{}}\nhttp {{ access_log off; \
         client_body_temp_path {place}/b; proxy_temp_path {place}/p; fastcgi_temp_path {place}/f; \
         uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n{site}\n}}\n"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, whole).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-c").arg(file).arg("-p").arg(folder);
    (Proxy::start(command, address), format!("https://{address}"))
}

fn caddy(folder: &Path, service: SocketAddr) -> (Proxy, String) {
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let text = substituted(
        &example("caddy/Caddyfile"),
        &[
            // Nothing is fetched here: no certificate, and no administration on a fixed port.
            ("\nartifact.example {", &format!("\nhttp://{address} {{")),
            ("reverse_proxy 127.0.0.1:7000", &format!("reverse_proxy {service}")),
            ("auto_https disable_redirects", "admin off\n\tauto_https off"),
        ],
    );
    let file = folder.join("Caddyfile");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("/usr/bin/caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
    (Proxy::start(command, address), format!("http://{address}"))
}

/// The service as it stands behind a proxy on the same machine.
fn behind_a_proxy(place: &Place) -> Service {
    let text = "log = \"info,artifact::http::layers=debug\"\nlog_format = \"json\"\n[proxy]\ntrusted = [\"127.0.0.1/32\"]\n";
    let config = place.file("proxied.toml", text);
    let mut service = place.serve(&["--listen", "127.0.0.1:0", "--config", &config]);
    service.api.key = service.printed_key();
    service
}

fn browser() -> reqwest::Client {
    // Not from the address that the service takes for its proxy's.
    let builder = reqwest::Client::builder().local_address(Some([127, 0, 0, 2].into()));
    builder.tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap()
}

async fn logged_address(service: &Service, id: &str) -> String {
    let started = Instant::now();
    loop {
        if let Some(line) = service.err.all().iter().find(|line| line.contains(&format!("\"{id}\""))) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            return line["fields"]["client.address"].as_str().unwrap_or_default().to_owned();
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{id} was not logged");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Drives the service through a proxy.
async fn drive(service: &Service, url: &str) {
    let (client, key) = (browser(), service.api.key.clone().unwrap());
    let get = |path: &str| client.get(format!("{url}{path}")).header("x-api-key", &key);
    let post = |path: &str| client.post(format!("{url}{path}")).header("x-api-key", &key);

    // What a client claims of itself is not believed: its own address is the proxy's other end.
    let spoofed = get("/markets")
        .header("x-forwarded-for", "203.0.113.9")
        .header("forwarded", "for=203.0.113.9")
        .header("x-real-ip", "203.0.113.9")
        .header("x-request-id", "spoofed-1");
    let answer = spoofed.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers().contains_key("strict-transport-security"), url.starts_with("https"));
    assert_eq!(logged_address(service, "spoofed-1").await, "127.0.0.2");

    // A client from elsewhere counts as itself, behind two proxies as well.
    let through = service.api.attempt(
        "GET",
        "/health/live",
        &[("x-forwarded-for", "198.51.100.7"), ("x-request-id", "elsewhere-1")],
        b"",
    );
    assert_eq!(through.await.unwrap().status, 200);
    assert_eq!(logged_address(service, "elsewhere-1").await, "198.51.100.7");

    // What is too large the service says, not the proxy.
    let large = post("/markets").header("content-type", "application/json").body(" ".repeat(1_100_000));
    let refused = large.send().await.unwrap();
    assert_eq!(refused.status(), 413);
    let problem: serde_json::Value = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["code"], "body_too_large");
    let within = post("/prices/batch")
        .header("content-type", "application/json")
        .body(format!("[{}]", " ".repeat(7_000_000)));
    assert_ne!(within.send().await.unwrap().status(), 413);
    let long = get(&format!("/markets?q={}", "a".repeat(10_000))).send().await.unwrap();
    assert_eq!(long.status(), 414);

    stream_up(service, url, &client, &key).await;
}

/// Lines of a stream are stored while it is still open.
async fn stream_up(service: &Service, url: &str, client: &reqwest::Client, key: &str) {
    let market =
        json!({ "code": "COMEX", "name": "COMEX", "market_type": "COMMODITIES_EXCHANGE", "timezone": "UTC" });
    service.api.post("/markets", &market).await.expect(201);
    let asset =
        json!({ "symbol": "GOLD", "name": "Gold", "asset_type": "COMMODITY", "market_code": "COMEX" });
    service.api.post("/assets", &asset).await.expect(201);
    let (lines, body) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = futures_util::stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
    let request = client
        .post(format!("{url}/prices/stream"))
        .header("x-api-key", key)
        .header("content-type", "application/x-ndjson");
    let sending = tokio::spawn(request.body(reqwest::Body::wrap_stream(body)).send());
    for day in 1..=3 {
        let line = format!(
            "{{\"symbol\":\"GOLD\",\"price\":\"400{day}\",\"timestamp\":\"2026-01-0{day}T00:00:00Z\"}}\n"
        );
        lines.send(Ok(line.into_bytes())).await.unwrap();
        let started = Instant::now();
        loop {
            let reply = service.api.attempt("GET", "/assets/GOLD/price", &[], b"").await.unwrap();
            if reply.status == 200 && reply.json()["price"] == format!("400{day}") {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "line {day} is held back by the proxy");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    drop(lines);
    assert_eq!(sending.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_as_it_is_shipped() {
    let place = Place::new(Backend::Sqlite).await;
    let service = behind_a_proxy(&place);
    let (proxy, url) = nginx(place.folder(), service.api.address);
    drive(&service, &url).await;
    drop(proxy);
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_as_it_is_shipped() {
    let place = Place::new(Backend::Sqlite).await;
    let service = behind_a_proxy(&place);
    let (proxy, url) = caddy(place.folder(), service.api.address);
    drive(&service, &url).await;
    drop(proxy);
    service.stop();
}

/// `serve` with a certificate, once it listens.
fn serve_tls(place: &Place, config: &str) -> Service {
    Service::start_until(place.command(&["serve", "--listen", "127.0.0.1:0", "--config", config]), |line| {
        let (_, address) = line.split_once("listening on https://")?;
        address.split_whitespace().next()?.parse().ok()
    })
}

/// The subject of the certificate a service shows.
fn subject(address: SocketAddr) -> String {
    let shown = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or_default().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_of_its_own_with_a_certificate_that_is_renewed() {
    let place = Place::new(Backend::Sqlite).await;
    let (certificate_file, key_file) = certificate(place.folder(), "first");
    let config = place
        .file("tls.toml", &format!("[tls]\ncertificate = \"{certificate_file}\"\nkey = \"{key_file}\"\n"));
    let service = serve_tls(&place, &config);
    let address = service.api.address;
    let client = browser();
    let answer =
        client.get(format!("https://localhost:{}/health/live", address.port())).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["strict-transport-security"].to_str().unwrap()),
        (200, "max-age=31536000; includeSubDomains")
    );
    assert!(subject(address).contains("first"), "{}", subject(address));

    // What is no TLS, an old one, or says nothing, gets nothing.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _end = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
    let old = Command::new("openssl")
        .args(["s_client", "-tls1_1", "-connect", &address.to_string()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!old.status.success());

    let (renewed, renewed_key) = certificate(place.folder(), "second");
    std::fs::copy(&renewed, &certificate_file).unwrap();
    std::fs::copy(&renewed_key, &key_file).unwrap();
    signal("HUP", service.child.id());
    let started = Instant::now();
    while !subject(address).contains("second") {
        assert!(started.elapsed() < Duration::from_secs(20), "the certificate is not read again");
    }
    // Files that are no certificate change nothing.
    std::fs::write(&certificate_file, "nonsense").unwrap();
    signal("HUP", service.child.id());
    let started = Instant::now();
    while !service.err.all().iter().any(|line| line.contains("the one before stays in use")) {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(subject(address).contains("second"));
    service.stop();
    let said = place.run(&["serve", "--listen", "127.0.0.1:0", "--config", &config]).failed(1);
    assert!(said.contains("holds no certificate in PEM"), "{said}");
    let half = place.file("half.toml", &format!("[tls]\nkey = \"{key_file}\"\n"));
    let said = place.run(&["config", "check", "--config", &half]).failed(2);
    assert!(said.contains("set both, or neither"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_is_not_ended_is_ended() {
    let place = Place::new(Backend::Sqlite).await;
    let (certificate_file, key_file) = certificate(place.folder(), "slow");
    let text = format!(
        "[limits]\nhead_seconds = 1\n[tls]\ncertificate = \"{certificate_file}\"\nkey = \"{key_file}\"\n"
    );
    let service = serve_tls(&place, &place.file("tls.toml", &text));
    let mut stream = TcpStream::connect(service.api.address).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
    let mut line = String::new();
    let end =
        tokio::time::timeout(Duration::from_secs(10), BufReader::new(stream).read_line(&mut line)).await;
    assert!(end.is_ok(), "it waits for ever");
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_internal_is_known_by_its_authority_and_by_no_other() {
    let place = Place::new(Backend::Sqlite).await;
    let [authority, leaf, key] = from_an_authority(place.folder());
    let (stranger, _) = certificate(place.folder(), "stranger");
    let config = place.file("tls.toml", &format!("[tls]\ncertificate = \"{leaf}\"\nkey = \"{key}\"\n"));
    let service = serve_tls(&place, &config);
    let port = service.api.address.port();
    let asked = async |host: &str, authorities: &Authorities| {
        let target = Target::parse(&format!("https://{host}:{port}/health/live")).unwrap();
        let client = Outbound::trusting(Reach::Anywhere, authorities).unwrap();
        let answer = client.send(&Outgoing::get(target, Duration::from_secs(10), 1_000)).await;
        answer.map(|answer| answer.status.as_u16()).map_err(|error| error.to_string())
    };
    let named = |file: &str| Authorities::of_file(Path::new(file)).unwrap();
    assert_eq!(asked("localhost", &named(&authority)).await, Ok(200));
    for (host, authorities) in [
        ("localhost", Authorities::OfMachine),
        ("localhost", named(&stranger)),
        // The right authority, and a host that the certificate does not name.
        ("127.0.0.1", named(&authority)),
    ] {
        let said = asked(host, &authorities).await.unwrap_err();
        assert!(said.contains("certificate"), "{host} {authorities:?}: {said}");
    }
    service.stop();
    for (section, setting) in [
        ("[outbox]\nauthorities_file", "outbox.authorities_file"),
        ("[backup]\ns3_authorities_file", "backup.s3_authorities_file"),
    ] {
        let config = place.file("own.toml", &format!("{section} = \"{key}\"\n"));
        let said = place.run(&["config", "check", "--config", &config]).failed(2);
        assert!(said.contains(setting) && said.contains("holds no certificate"), "{said}");
        let config = place.file("own.toml", &format!("{section} = \"{authority}\"\n"));
        let shown = place.run(&["config", "show", "--config", &config]).ok();
        assert!(
            shown.lines().any(|line| line.contains(setting) && line.contains("authority.pem")),
            "{shown}"
        );
    }
}

/// What answers end with waits inside the encryption while the client takes nothing, and has to be sent from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_answer_over_tls_comes_to_a_client_that_waited() {
    /// Together more than the system takes over while nobody reads.
    const ANSWERS: usize = 8;
    let place = Place::new(Backend::Sqlite).await;
    let [authority, leaf, key] = from_an_authority(place.folder());
    let text = format!("[tls]\ncertificate = \"{leaf}\"\nkey = \"{key}\"\n");
    let service = serve_tls(&place, &place.file("tls.toml", &text));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(service.api.address).await.unwrap();
    let mut stream =
        BufReader::new(connector.connect("localhost".try_into().unwrap(), stream).await.unwrap());
    let ask = "GET /docs/ui/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(ask.repeat(ANSWERS).as_bytes()).await.unwrap();
    // By then the service has handed over all that there is room for.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 1..=ANSWERS {
        let answer = async {
            let (mut length, mut line) = (0, String::new());
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
                let value = line.to_ascii_lowercase();
                if let Some(value) = value.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            length
        };
        let length = tokio::time::timeout(Duration::from_secs(10), answer).await;
        assert!(length.is_ok_and(|length| length > 1_000_000), "answer {number} of {ANSWERS} has no end");
    }
    service.stop();
}
