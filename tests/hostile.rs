//! Attacks on the machine that tests, each as somebody would hand it in: a folder that is built, files that are read, a
//! signal at a bad moment. None of them needs a guest; the kernel that they are built for has to be in the cache.
//!
//!     cargo build --release && cargo test --release -p vmm --test hostile -- --test-threads=1

#[path = "hostile/files.rs"]
mod files;
#[path = "hostile/folders.rs"]
mod folders;
#[path = "hostile/killed.rs"]
mod killed;
#[path = "hostile/read.rs"]
mod read;
#[path = "hostile/series.rs"]
mod series;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The program under test.
const VMM: &str = env!("CARGO_BIN_EXE_vmm");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is in a folder of the checkout")
        .to_owned()
}

fn vmm(arguments: &[&str]) -> Command {
    let mut command = Command::new(VMM);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Everything that it said.
fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

fn build(folder: &Path) -> Command {
    vmm(&["module", "build", &folder.display().to_string()])
}
