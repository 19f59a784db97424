use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::{Config, GatewayConfigError, text_file};

/// A configuration file that is read again when it changes, with the files of keys that it names.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use tidegate_gateway::{ConfigSource, Gateway};
///
/// let mut source = ConfigSource::new("gateway.toml");
/// let gateway = Gateway::new(source.read()?)?.bind().await?;
/// gateway.follow(source, |_| {}, std::future::pending).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ConfigSource {
    path: PathBuf,
    stamps: FileStamps,
}

/// The files of a configuration, each with a digest of its content when it was read.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct FileStamps(BTreeMap<PathBuf, Option<u64>>);

static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl ConfigSource {
    /// The file at `path`, which is not read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), stamps: FileStamps::default() }
    }

    /// Reads the file, and the environment of the process.
    ///
    /// # Errors
    ///
    /// As [`Config::read`].
    pub fn read(&mut self) -> Result<Config, GatewayConfigError> {
        self.stamps = FileStamps::default();
        Config::read_stamped(&self.path, &mut self.stamps)
    }

    /// Adds files that the configuration in use has, and the file does not name any more.
    pub(crate) fn keep<'p>(&mut self, paths: impl IntoIterator<Item = &'p str>) {
        for path in paths {
            let path = Path::new(path);
            if !self.stamps.0.contains_key(path) {
                self.stamps.add(path);
            }
        }
    }

    /// The files as they were when they were read.
    pub(crate) fn stamps(&self) -> &FileStamps {
        &self.stamps
    }
}

impl FileStamps {
    /// Adds a file, before it is read: if it changes meanwhile, its digest differs from now on.
    pub(super) fn add(&mut self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        self.0.insert(path.to_owned(), digest(path));
    }

    /// The same files as they are now.
    pub(crate) fn renewed(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), digest(path))).collect())
    }
}

/// A digest of the content; `None` for what is no file, such as a pipe, or cannot be read.
fn digest(path: &Path) -> Option<u64> {
    text_file::read(path).ok().map(|content| HASHES.hash_one(content))
}

/// The digests are those of keys, too.
impl fmt::Debug for FileStamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
