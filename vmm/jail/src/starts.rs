//! Whether boxes work on this machine at all: a container or a service may forbid what they are made with.

use crate::{
    Refused,
    sandbox::{Sandbox, try_words},
};
use std::{sync::OnceLock, thread};

/// Whether something can be started in a box; looked for once, by trying. What can't be confined here would end, and be told as if it did not build.
///
/// # Errors
/// It can't.
pub(crate) fn starts() -> Result<(), Refused> {
    static TRIED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || {
        let sandbox = Sandbox::empty();
        if sandbox.is_open() {
            sandbox.enter()?;
        }
        let output = try_words(sandbox.prefix()).map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = || format!("{} ({})", said.lines().next().unwrap_or("it said nothing"), output.status);
        if output.status.success() { Ok(()) } else { Err(said()) }
    };
    // On a thread that does nothing else: there is no way back.
    let tried =
        TRIED.get_or_init(|| thread::spawn(start).join().unwrap_or_else(|_| Err("it panicked".to_owned())));
    tried.clone().map_err(|said| Refused::Unstartable { said })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;
    use std::{env, fs, os::unix::fs::PermissionsExt, process::Command};

    #[test]
    #[ignore = "run by a_box_in_which_nothing_starts_is_the_machines_fault"]
    fn can_have_no_box() {
        let refused = Sandbox::new(Budget::TOOL).unwrap_err();
        assert!(!refused.blames_files());
        assert!(refused.to_string().contains(": no limits here (exit status: 126);"), "{refused}");
    }

    #[test]
    fn a_box_in_which_nothing_starts_is_the_machines_fault() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("prlimit");
        fs::write(&program, "#!/bin/sh\necho no limits here >&2\nexit 126\n").unwrap();
        for path in [folder.path(), &program] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = env::var_os("PATH").unwrap();
        let path = env::join_paths([folder.path().to_owned()].into_iter().chain(env::split_paths(&path)));
        let test = ["--exact", "starts::tests::can_have_no_box", "--ignored"];
        let mut own = Command::new(env::current_exe().unwrap());
        let output = own.args(test).env("PATH", path.unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
