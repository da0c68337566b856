//! TLS built in: a certificate and its key from two files, which are read again when they change.

mod validity;

use crate::domain::moment::Moment;
use crate::telemetry::{self, recorder};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, version};
use tokio_util::sync::CancellationToken;

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(5);

/// Why files are no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {what} in PEM", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificate and key do not go together, or cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then those that lead from it to a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// When each was last changed; a change while they are read is seen the next time.
    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key]
            .map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
    }

    fn read(&self) -> Result<Current, TlsError> {
        let (path, text) = (self.certificate.clone(), contents(&self.certificate)?);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or(TlsError::Malformed { path, what: "certificate" })?;
        let ends_at = chain.iter().filter_map(|certificate| validity::end(certificate)).min();
        let (path, text) = (self.key.clone(), contents(&self.key)?);
        let key = PrivateKeyDer::from_pem_slice(&text);
        let key = key.map_err(|_| TlsError::Malformed { path, what: "private key" })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // The strongest that both have, not what the client likes best.
        config.ignore_client_order = true;
        Ok(Current { config: Arc::new(config), ends_at })
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_path_buf(), source })
}

/// What was read of the files.
#[derive(Debug, Clone)]
struct Current {
    config: Arc<ServerConfig>,
    /// When the first certificate of the chain to end does so.
    ends_at: Option<Moment>,
}

/// The certificate in use.
#[derive(Debug)]
pub struct Certificates {
    files: CertificateFiles,
    current: RwLock<Current>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: CertificateFiles) -> Result<Self, TlsError> {
        let current = RwLock::new(files.read()?);
        Ok(Self { files, current })
    }

    /// Accepts connections with what was read last.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current().config)
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows when the certificate in use ends in the metrics.
    fn show(&self) {
        let seconds = self.current().ends_at.map(|at| at.0.div_euclid(1_000_000));
        if let Some(seconds) = seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
            metrics::gauge!(telemetry::CERTIFICATE_EXPIRY).set(recorder::value(seconds));
        }
    }

    /// Reads the files again. Files that cannot be used leave everything as it was.
    fn reload(&self) {
        match self.files.read() {
            Ok(read) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
                self.show();
                tracing::info!("the certificate was read again");
            }
            Err(error) => {
                tracing::error!(%error, "the certificate was not read again; the one before stays in use");
            }
        }
    }

    /// Reads the files again at SIGHUP, and when they have changed, until `stop` is cancelled.
    pub async fn supervise(self: Arc<Self>, stop: CancellationToken) {
        self.show();
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be watched, nor certificates");
                return;
            }
        };
        let mut seen = self.files.changed();
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = sleep(LOOK) => false,
                () = stop.cancelled() => return,
            };
            let this = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                let changed = this.files.changed();
                if asked || changed != seen {
                    this.reload();
                }
                changed
            });
            seen = looked.await.unwrap_or(seen);
        }
    }
}
