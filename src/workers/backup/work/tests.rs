use super::*;

/// A folder for scratch folders, gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("artifact-work-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&path).unwrap_or_default();
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A scratch folder as one that was begun leaves it, of the process of that number.
    fn left(&self, process: &str) -> PathBuf {
        let path = self.0.join(format!("{WORK}{process}-{}", Uuid::from_u128(7)));
        std::fs::create_dir_all(path.join("inside")).unwrap();
        std::fs::write(path.join("inside/artifact.db"), "half a copy").unwrap();
        path
    }

    fn begin(&self, number: u128) -> Work {
        Work::begin(&self.0, Uuid::from_u128(number)).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

#[test]
fn a_scratch_folder_whose_owner_is_gone_is_removed_whatever_its_process_was_called() {
    let place = Place::new("gone");
    // One that ended, and one that had the number this process has: in a container each is the first.
    let own = std::process::id().to_string();
    let left = [place.left("4294967295"), place.left(&own)];
    let others = [place.0.join("artifact.db"), place.0.join("ingest")];
    std::fs::write(&others[0], "data").unwrap();
    std::fs::create_dir(&others[1]).unwrap();
    let work = place.begin(1);
    for path in left {
        assert!(!path.exists(), "{} is still there", path.display());
    }
    assert!(others.iter().all(|path| path.exists()), "what is no scratch folder is left alone");
    let path = work.0.clone();
    assert!(path.is_dir());
    drop(work);
    assert!(!path.exists());
}

#[test]
fn a_scratch_folder_in_use_is_left_whatever_its_process_is_called() {
    let place = Place::new("used");
    let own = std::process::id().to_string();
    // A lock belongs to who opened the folder, so one that is opened here is another's as much as that of a process.
    let used = [place.left("1"), place.left(&own), place.left("4294967295")];
    let owners: Vec<File> = used.iter().map(|path| locked_folder(path).unwrap().unwrap()).collect();
    let (first, second) = (place.begin(1), place.begin(2));
    for path in used.iter().chain([&first.0, &second.0]) {
        assert!(path.is_dir(), "{} is gone", path.display());
    }
    assert_eq!(std::fs::read_to_string(used[1].join("inside/artifact.db")).unwrap(), "half a copy");
    // With its owner the lock is gone, and the next one sweeps.
    drop((owners, first, second));
    let _third = place.begin(3);
    for path in &used {
        assert!(!path.exists(), "{} is still there", path.display());
    }
}
