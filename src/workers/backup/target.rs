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
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// Ending of a file that is not whole yet.
const PARTIAL: &str = ".partial";
/// Longest time a storage may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// An archive that is being written. Whoever writes it holds a lock on it, so that nobody sweeps it away. Dropped before it
/// was taken in, it is gone: it may fill the very room that the next one needs.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    _lock: File,
}

impl Draft {
    /// Begins one. A file system without locks has none: there a draft stays until somebody removes it.
    fn begin(path: PathBuf) -> Result<Self, BackupError> {
        let lock = locked_file(&path).map_err(failed(&path))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            // One that was taken in has another name by now.
            Err(error) if !is_gone(&error) => {
                tracing::warn!(%error, path = %self.path.display(), "the draft of a backup was not removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// A new private file with a lock on it, if the file system has locks.
fn locked_file(path: &Path) -> io::Result<File> {
    let file = super::archive::private_file(path)?;
    if let Err(error) = file.try_lock() {
        tracing::debug!(%error, path = %path.display(), "a file that is being written has no lock");
    }
    Ok(file)
}

/// Removes what lies half written in a folder, except what somebody is still writing.
fn sweep_folder(folder: &Path) -> Result<(), BackupError> {
    for (name, _) in names_in(folder)? {
        let path = folder.join(&name);
        if !name.ends_with(PARTIAL) || !fs::symlink_metadata(&path).is_ok_and(|file| file.is_file()) {
            continue;
        }
        let removed = File::open(&path).and_then(|file| match file.try_lock() {
            Ok(()) => fs::remove_file(&path),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error),
        });
        if let Err(error) = removed.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) }) {
            tracing::warn!(%error, path = %path.display(), "a file that is half written was not removed");
        }
    }
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

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
        // What lies deeper is not ours.
        let listed = self.store.list_with_delimiter(Some(&self.prefix)).await.map_err(self.failed())?;
        let mut names: Vec<(String, u64)> = listed
            .objects
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
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(folder))?;
        let length = match entry.metadata() {
            Ok(about) => about.len(),
            // Somebody removed it meanwhile.
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(failed(folder)(error)),
        };
        names.push((entry.file_name().to_string_lossy().into_owned(), length));
    }
    names.sort_unstable();
    Ok(names)
}

fn keep(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
    private_folder(folder)?;
    let part = folder.join(format!("{name}{PARTIAL}"));
    let write = || {
        let mut file = locked_file(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, folder.join(name))
    };
    if let Err(error) = write() {
        // Nobody needs a part of it; that it stays is no other failure.
        fs::remove_file(&part).unwrap_or_default();
        return Err(failed(&part)(error));
    }
    sync_folder(folder)
}

fn forget(folder: &Path, name: &str) -> Result<(), BackupError> {
    let path = folder.join(name);
    match fs::remove_file(&path) {
        Err(error) if !is_gone(&error) => Err(failed(&path)(error)),
        Ok(()) | Err(_) => sync_folder(folder),
    }
}

impl Target {
    /// Where an archive is written before it is taken in: beside its place where that is a folder, else in `work`.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub fn draft(&self, work: &Path, id: &str) -> Result<Draft, BackupError> {
        let folder = match self {
            Self::Folder(folder) => folder,
            Self::Bucket(_) => work,
        };
        private_folder(folder)?;
        Draft::begin(folder.join(format!("{id}{PARTIAL}")))
    }

    /// Takes a file in that [`Target::draft`] named, under its own name.
    ///
    /// # Errors
    /// What the place says; then the file has no name there.
    pub async fn take_in(&self, draft: Draft, name: String) -> Result<(), BackupError> {
        match self.clone() {
            Self::Bucket(bucket) => bucket.upload(draft.path(), &name).await,
            Self::Folder(folder) => {
                aside(move || {
                    let to = folder.join(name);
                    fs::rename(draft.path(), &to).map_err(failed(&to))?;
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

    /// The short file of this name, or why this one cannot be read while others may.
    ///
    /// # Errors
    /// What a storage says that does not answer.
    pub async fn try_get(&self, name: String) -> Result<Result<Vec<u8>, String>, BackupError> {
        let Self::Bucket(bucket) = self else {
            return Ok(self.get(name).await.map_err(|error| error.to_string()));
        };
        let found = match bucket.store.get(&bucket.key(&name)).await {
            Ok(found) => found.bytes().await.map_err(bucket.failed())?,
            Err(
                error @ (object_store::Error::NotFound { .. } | object_store::Error::PermissionDenied { .. }),
            ) => return Ok(Err(unreachable_at(&bucket.shown, &error).to_string())),
            Err(error) => return Err(bucket.failed()(error)),
        };
        Ok(Ok(found.into()))
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

    /// Removes what a stopped backup left half written in a folder, except what another process is still writing; a bucket
    /// shows whole objects only.
    ///
    /// # Errors
    /// What the place says.
    pub async fn sweep(&self) -> Result<(), BackupError> {
        let Self::Folder(folder) = self.clone() else { return Ok(()) };
        aside(move || sweep_folder(&folder)).await
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
    async fn what_is_half_written_is_swept_away_and_what_is_being_written_is_not() {
        let folder = std::env::temp_dir().join(format!("artifact-drafts-{}", std::process::id()));
        fs::create_dir_all(folder.join("folder.partial")).unwrap();
        for name in ["left.partial", "artifact-1.json.partial", "artifact-1.json"] {
            fs::write(folder.join(name), "half").unwrap();
        }
        let target = Target::Folder(folder.clone());
        let (under_way, ended) =
            (target.draft(&folder, "one").unwrap(), target.draft(&folder, "two").unwrap());
        fs::write(ended.path(), "an archive").unwrap();
        target.take_in(ended, "artifact-1.tar.zst".to_owned()).await.unwrap();
        target.sweep().await.unwrap();
        let there = || names_in(&folder).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let kept = ["artifact-1.json", "artifact-1.tar.zst", "folder.partial"];
        assert_eq!(there(), [&kept[..], &["one.partial"]].concat());
        drop(under_way);
        assert_eq!(there(), kept);
        fs::remove_dir_all(folder).unwrap();
    }

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
