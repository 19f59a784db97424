//! Reading of the files of a configuration.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The largest file, in bytes.
const MAX_LENGTH: u64 = 4 * 1024 * 1024;

/// The content of the file at `path`.
///
/// # Errors
///
/// It cannot be read, is too long, or is no file: a pipe could block the reader for ever.
pub(super) fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, String> {
    let path = path.as_ref();
    let unreadable = |error| format!("cannot be read: {error}");
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("cannot be read: expected a file, found another kind".to_owned());
    }
    let mut content = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_LENGTH + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > MAX_LENGTH {
        Err(format!("cannot be read: expected at most {MAX_LENGTH} bytes"))
    } else {
        Ok(content)
    }
}

/// The same as text.
///
/// # Errors
///
/// As [`read`], or it is not UTF-8.
pub(super) fn read_text(path: impl AsRef<Path>) -> Result<String, String> {
    String::from_utf8(read(path)?).map_err(|_| "cannot be read: expected UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_or_too_long_is_an_error() {
        let folder = std::env::temp_dir().join(format!("tidegate-text-file-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        fs::write(&path, "key").unwrap();
        assert_eq!(read_text(&path).unwrap(), "key");
        File::create(&path).unwrap().set_len(MAX_LENGTH + 1).unwrap();
        assert!(read(&path).unwrap_err().contains("at most"));
        assert!(read(&folder).unwrap_err().contains("expected a file"));
        #[cfg(target_os = "linux")]
        assert!(read("/dev/zero").unwrap_err().contains("expected a file"));
        assert!(read(folder.join("none")).unwrap_err().contains("cannot be read"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
