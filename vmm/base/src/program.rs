//! This program's own file.

use std::{
    env,
    io::{Error, Result},
    path::{Path, PathBuf},
};

/// What the kernel puts behind the path of a program whose file is no longer there.
const GONE: &str = " (deleted)";

/// Its path.
///
/// # Errors
/// The file was replaced or removed since: what stands there now is not what runs.
pub fn path() -> Result<PathBuf> {
    still_there(env::current_exe()?)
}

fn still_there(path: PathBuf) -> Result<PathBuf> {
    match path.to_str().and_then(|path| path.strip_suffix(GONE)) {
        Some(was) if !path.exists() => {
            let now = if Path::new(was).exists() { "replaced" } else { "removed" };
            Err(Error::other(format!("{was} was {now} while it ran; start it again")))
        }
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_program_whose_file_is_another_one_by_now_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmm");
        let gone = folder.path().join("vmm (deleted)");
        let said = |path: &PathBuf| still_there(path.clone()).unwrap_err().to_string();
        assert!(said(&gone).ends_with("/vmm was removed while it ran; start it again"), "{}", said(&gone));
        fs::write(&path, "another").unwrap();
        assert!(said(&gone).ends_with("/vmm was replaced while it ran; start it again"), "{}", said(&gone));
        // It may be called so.
        fs::write(&gone, "").unwrap();
        assert_eq!(still_there(gone.clone()).unwrap(), gone);
        assert_eq!(still_there(path.clone()).unwrap(), path);
        assert!(super::path().is_ok());
    }
}
