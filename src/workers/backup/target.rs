//! Where backups are kept: files that are whole or not there.

use super::BackupError;
use crate::workers::outbound::authorities::Authorities;
use crate::workers::outbound::careful;
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::buffered::BufWriter;
use object_store::client::{ClientOptions, HttpClient, HttpConnector};
use object_store::path::Path as Key;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// Ending of a file that is not whole yet.
const PARTIAL: &str = ".partial";
/// Longest time a storage may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A place for backups.
#[derive(Debug, Clone)]
pub enum Target {
    /// A folder.
    Folder(PathBuf),
    /// A bucket of storage that speaks S3.
    Bucket(Bucket),
}

/// A bucket, and what comes before each name in it.
#[derive(Debug, Clone)]
pub struct Bucket {
    store: Arc<AmazonS3>,
    prefix: Key,
    shown: String,
}

/// How a bucket is reached.
#[derive(Clone)]
pub struct BucketAddress {
    /// Its name.
    pub bucket: String,
    /// What comes before each name in it.
    pub prefix: String,
    /// Where it is, if not at Amazon.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: String,
    /// Id and secret of the access key.
    pub key: Option<(String, String)>,
    /// Whose certificates it may show.
    pub authorities: Authorities,
}

/// Makes the client of a storage: one that goes where it was sent and nowhere else. The client the storage would make by
/// itself follows redirects, with the signature of a request and what is in its body.
#[derive(Debug)]
struct NoDetours(Authorities);

impl HttpConnector for NoDetours {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let made = careful(&self.0).read_timeout(SILENCE_MAX).build();
        let client =
            made.map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })?;
        Ok(HttpClient::new(client))
    }
}

impl Bucket {
    /// Prepares the way to a bucket; nothing is sent yet.
    ///
    /// # Errors
    /// [`BackupError::Storage`] for an address that cannot be.
    pub fn at(address: BucketAddress) -> Result<Self, BackupError> {
        let BucketAddress { bucket, prefix, endpoint, region, key, authorities } = address;
        let shown = format!("s3://{bucket}/{prefix}");
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_http_connector(NoDetours(authorities));
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some((id, secret)) = key {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        let store = builder.build().map_err(|error| unreachable_at(&shown, &error))?;
        Ok(Self { store: Arc::new(store), prefix: Key::from(prefix), shown })
    }

    fn key(&self, name: &str) -> Key {
        self.prefix.clone().join(name)
    }

    fn failed(&self) -> impl FnOnce(object_store::Error) -> BackupError {
        move |error| unreachable_at(&self.shown, &error)
    }

    async fn upload(&self, from: &Path, name: &str) -> Result<(), BackupError> {
        let mut file = tokio::fs::File::open(from).await.map_err(failed(from))?;
        let store: Arc<AmazonS3> = Arc::clone(&self.store);
        let mut upload = BufWriter::new(store, self.key(name));
        let sent = async {
            tokio::io::copy(&mut file, &mut upload).await?;
            upload.shutdown().await
        };
        // A bucket shows an object once it is whole.
        sent.await.map_err(|error| BackupError::Target { place: self.shown.clone(), said: error.to_string() })
    }

    async fn download(&self, name: &str, to: &Path) -> Result<(), BackupError> {
        let found = self.store.get(&self.key(name)).await.map_err(self.failed())?;
        let mut parts = found.into_stream();
        let mut file = tokio::fs::File::create(to).await.map_err(failed(to))?;
        while let Some(part) = parts.try_next().await.map_err(self.failed())? {
            file.write_all(&part).await.map_err(failed(to))?;
        }
        file.flush().await.map_err(failed(to))
    }

    async fn names(&self) -> Result<Vec<(String, u64)>, BackupError> {
        let all: Vec<_> = self.store.list(Some(&self.prefix)).try_collect().await.map_err(self.failed())?;
        let mut names: Vec<(String, u64)> = all
            .into_iter()
            .filter_map(|object| Some((object.location.filename()?.to_owned(), object.size)))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn remove(&self, name: &str) -> Result<(), BackupError> {
        match self.store.delete(&self.key(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed()(error)),
        }
    }
}

fn unreachable_at(place: &str, error: &object_store::Error) -> BackupError {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_said = cause.to_string();
        if !said.contains(&cause_said) {
            said = format!("{said}: {cause_said}");
        }
        source = cause.source();
    }
    BackupError::Target { place: place.to_owned(), said }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |error| BackupError::File { path, error }
}

/// Makes a folder that only its owner enters.
///
/// # Errors
/// [`BackupError::File`].
pub fn private_folder(path: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))
}

/// Writes what a folder lists onto the disk.
///
/// # Errors
/// [`BackupError::File`].
pub fn sync_folder(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed(path))
}

fn names_in(folder: &Path) -> Result<Vec<(String, u64)>, BackupError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(folder))?;
        let length = entry.metadata().map_err(failed(folder))?.len();
        names.push((entry.file_name().to_string_lossy().into_owned(), length));
    }
    names.sort_unstable();
    Ok(names)
}

fn keep(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
    private_folder(folder)?;
    let part = folder.join(format!("{name}{PARTIAL}"));
    let write = || {
        let mut file = super::archive::private_file(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, folder.join(name))
    };
    write().map_err(failed(&part))?;
    sync_folder(folder)
}

fn forget(folder: &Path, name: &str) -> Result<(), BackupError> {
    let path = folder.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path)(error)),
        Ok(()) | Err(_) => sync_folder(folder),
    }
}

impl Target {
    /// Where an archive is written before it is taken in: beside its place where that is a folder, else in `work`.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub fn draft(&self, work: &Path, id: &str) -> Result<PathBuf, BackupError> {
        let folder = match self {
            Self::Folder(folder) => folder,
            Self::Bucket(_) => work,
        };
        private_folder(folder)?;
        Ok(folder.join(format!("{id}{PARTIAL}")))
    }

    /// Takes a file in that [`Target::draft`] named, under its own name.
    ///
    /// # Errors
    /// What the place says; then the file has no name there.
    pub async fn take_in(&self, draft: PathBuf, name: String) -> Result<(), BackupError> {
        match self.clone() {
            Self::Bucket(bucket) => bucket.upload(&draft, &name).await,
            Self::Folder(folder) => {
                aside(move || {
                    let to = folder.join(name);
                    fs::rename(&draft, &to).map_err(failed(&to))?;
                    sync_folder(&folder)
                })
                .await
            }
        }
    }

    /// Keeps a short file.
    ///
    /// # Errors
    /// What the place says.
    pub async fn put(&self, name: String, bytes: Vec<u8>) -> Result<(), BackupError> {
        match self.clone() {
            Self::Folder(folder) => aside(move || keep(&folder, &name, &bytes)).await,
            Self::Bucket(bucket) => {
                bucket.store.put(&bucket.key(&name), bytes.into()).await.map(drop).map_err(bucket.failed())
            }
        }
    }

    /// The short file of this name.
    ///
    /// # Errors
    /// What the place says.
    pub async fn get(&self, name: String) -> Result<Vec<u8>, BackupError> {
        match self.clone() {
            Self::Folder(folder) => {
                aside(move || {
                    let path = folder.join(name);
                    fs::read(&path).map_err(failed(&path))
                })
                .await
            }
            Self::Bucket(bucket) => {
                let found = bucket.store.get(&bucket.key(&name)).await.map_err(bucket.failed())?;
                found.bytes().await.map(Into::into).map_err(bucket.failed())
            }
        }
    }

    /// Names and lengths of all whole files; none where there is no such place.
    ///
    /// # Errors
    /// What the place says.
    pub async fn names(&self) -> Result<Vec<(String, u64)>, BackupError> {
        let mut names = match self.clone() {
            Self::Folder(folder) => aside(move || names_in(&folder)).await?,
            Self::Bucket(bucket) => bucket.names().await?,
        };
        names.retain(|(name, _)| !name.ends_with(PARTIAL));
        Ok(names)
    }

    /// The file of this name, where it can be read: it may be put into `work` for that.
    ///
    /// # Errors
    /// What the place says.
    pub async fn fetch(&self, name: &str, work: &Path) -> Result<PathBuf, BackupError> {
        match self {
            Self::Folder(folder) => Ok(folder.join(name)),
            Self::Bucket(bucket) => {
                let to = work.join("archive");
                bucket.download(name, &to).await?;
                Ok(to)
            }
        }
    }

    /// Removes a file; that it is gone is no failure.
    ///
    /// # Errors
    /// What the place says.
    pub async fn remove(&self, name: String) -> Result<(), BackupError> {
        match self.clone() {
            Self::Folder(folder) => aside(move || forget(&folder, &name)).await,
            Self::Bucket(bucket) => bucket.remove(&name).await,
        }
    }

    /// Removes what a stopped backup left half written in a folder; a bucket shows whole objects only.
    ///
    /// # Errors
    /// What the place says.
    pub async fn sweep(&self) -> Result<(), BackupError> {
        let Self::Folder(folder) = self.clone() else { return Ok(()) };
        aside(move || {
            for (name, _) in names_in(&folder)? {
                if name.ends_with(PARTIAL) {
                    forget(&folder, &name)?;
                }
            }
            Ok(())
        })
        .await
    }
}

/// Runs work on files off the threads that answer.
///
/// # Errors
/// Those of the work.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| BackupError::File { path: PathBuf::from("."), error: io::Error::other(error) })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::outbound::canary::{Canary, ok, redirect};

    #[tokio::test]
    async fn a_storage_that_leads_elsewhere_is_not_followed() {
        let elsewhere = Canary::answering(ok("no")).await;
        for status in [301, 302, 303, 307, 308] {
            let storage =
                Canary::answering(redirect(status, &format!("http://127.0.0.1:{}/vault/x", elsewhere.port)))
                    .await;
            let bucket = Bucket::at(BucketAddress {
                bucket: "vault".to_owned(),
                prefix: "artifact".to_owned(),
                endpoint: Some(format!("http://127.0.0.1:{}", storage.port)),
                region: "us-east-1".to_owned(),
                key: Some(("AKIDEXAMPLE".to_owned(), "hunter2".to_owned())),
                authorities: Authorities::OfMachine,
            });
            let target = Target::Bucket(bucket.unwrap());
            let put =
                target.put("x".to_owned(), b"a backup".to_vec()).await.map_err(|error| error.to_string());
            let got = target.get("x".to_owned()).await.map(drop).map_err(|error| error.to_string());
            let listed = target.names().await.map(drop).map_err(|error| error.to_string());
            for refused in [put, got, listed] {
                let said = refused.unwrap_err();
                assert!(said.contains("s3://vault/artifact") && !said.contains("hunter2"), "{said}");
            }
            assert!(storage.callers() >= 3);
        }
        assert_eq!(elsewhere.callers(), 0);
    }
}
