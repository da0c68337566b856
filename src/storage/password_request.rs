//! How a PostgreSQL server asks for a password, told before one is sent.
//!
//! Since version 16 a session can be asked how it came in. Before, the server says it once: its first answer to who wants to
//! come in names the method. So somebody has to begin to come in, listen to that answer, and go away
//! (<https://www.postgresql.org/docs/current/protocol-flow.html>, start-up).

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The protocol, 3.0.
const PROTOCOL: u32 = 3 << 16;
/// What asks for encryption before anything else is said.
const ENCRYPT: u32 = 80_877_103;
/// The kind of message that tells how to come in.
const AUTHENTICATION: u8 = b'R';
/// Of these, the one that asks for a password hashed by MD5.
const MD5: u32 = 5;
/// Longest until it has answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a server asks the role of these options for a password hashed by MD5. Over TLS where that is demanded, with the
/// certificate held to the same authorities as the connection's; otherwise in plain words, as nothing secret is said.
///
/// # Errors
/// When it cannot be reached, or answers with anything but a method.
pub(super) async fn is_by_md5(options: &PgConnectOptions) -> Result<bool, Error> {
    let silence = |_| Error::new(ErrorKind::TimedOut, "no answer in time");
    tokio::time::timeout(PATIENCE, asked(options)).await.map_err(silence)?
}

async fn asked(options: &PgConnectOptions) -> Result<bool, Error> {
    let (host, port) = (options.get_host(), options.get_port());
    let directory =
        options.get_socket().map(PathBuf::as_path).or_else(|| host.starts_with('/').then(|| Path::new(host)));
    if let Some(directory) = directory {
        let path = directory.join(format!(".s.PGSQL.{port}"));
        return method(UnixStream::connect(path).await?, options).await;
    }
    let mut stream = TcpStream::connect((host, port)).await?;
    if !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull | PgSslMode::VerifyCa) {
        return method(stream, options).await;
    }
    stream.write_all(&[8_u32.to_be_bytes(), ENCRYPT.to_be_bytes()].concat()).await?;
    if stream.read_u8().await? != b'S' {
        return Err(Error::other("it does not encrypt"));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
    let connector = TlsConnector::from(Arc::new(encryption(options)?));
    method(connector.connect(name, stream).await?, options).await
}

/// What is held to be a good certificate, and the own one where it is named: as the connection has it.
fn encryption(options: &PgConnectOptions) -> Result<ClientConfig, Error> {
    let url = options.to_url_lossy();
    let named = |wanted: &str| {
        let found = url.query_pairs().find(|(name, _)| name == wanted);
        // What is shown is where it lies, or the text itself.
        let given = found.map(|(_, shown)| match shown.strip_prefix("file: ") {
            Some(path) => std::fs::read(path),
            None => Ok(shown.as_bytes().to_vec()),
        });
        given.transpose()
    };
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let certificates = |text: Vec<u8>| {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        read.map_err(Error::other)
    };
    if let Some(text) = named("sslrootcert")? {
        for certificate in certificates(text)? {
            roots.add(certificate).map_err(Error::other)?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::other)?
        .with_root_certificates(roots);
    let Some((own, key)) = named("sslcert")?.zip(named("sslkey")?) else {
        return Ok(config.with_no_client_auth());
    };
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(Error::other)?;
    config.with_client_auth_cert(certificates(own)?, key).map_err(Error::other)
}

/// Says who wants to come in, and listens to how.
async fn method(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    options: &PgConnectOptions,
) -> Result<bool, Error> {
    let role = options.get_username();
    let words = ["user", role, "database", options.get_database().unwrap_or(role), ""];
    let said: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
    let length = u32::try_from(said.len() + 8).map_err(Error::other)?;
    let first = [&length.to_be_bytes(), &PROTOCOL.to_be_bytes(), said.as_slice()].concat();
    stream.write_all(&first).await?;
    stream.flush().await?;
    if stream.read_u8().await? != AUTHENTICATION {
        return Err(Error::other("it does not say how to come in"));
    }
    // The length of the message comes before the method.
    stream.read_u32().await?;
    Ok(stream.read_u32().await? == MD5)
}
