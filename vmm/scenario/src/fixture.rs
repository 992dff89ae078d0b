//! For tests: the shipped scenarios, and scenarios beside modules that exist.

use crate::{Scenario, load};
use proptest::prelude::*;
use std::path::Path;

/// `scenarios/chardev.yaml`.
pub const CHARDEV: &str = include_str!("../../../scenarios/chardev.yaml");
/// `scenarios/hello.yaml`.
pub const HELLO: &str = include_str!("../../../scenarios/hello.yaml");
/// `scenarios/syscall.yaml`.
pub const SYSCALL: &str = include_str!("../../../scenarios/syscall.yaml");

/// Loads a scenario from a folder where its modules exist; errors name the file `scenarios/test.yaml`.
pub fn try_load(text: &[u8]) -> Result<Scenario, String> {
    let folder = tempfile::tempdir().unwrap();
    for (module, object) in [("chardev", "chardev"), ("hello", "helloModule"), ("dashed", "my-driver")] {
        let module = folder.path().join("modules").join(module);
        std::fs::create_dir_all(&module).unwrap();
        std::fs::write(module.join("Makefile"), format!("obj-m := {object}.o\n")).unwrap();
    }
    // A folder with a file's name.
    std::fs::create_dir(folder.path().join("modules/folder.ko")).unwrap();
    std::fs::create_dir(folder.path().join("scenarios")).unwrap();
    let path = folder.path().join("scenarios/test.yaml");
    std::fs::write(&path, text).unwrap();
    let here = format!("{}/", folder.path().display());
    match load(&path) {
        Ok(mut scenario) => {
            scenario.path = Path::new("scenarios/test.yaml").to_owned();
            Ok(scenario)
        }
        Err(errors) => Err(errors.to_string().replace(&here, "")),
    }
}

/// Loads a scenario that is right.
pub fn scenario(text: &str) -> Scenario {
    try_load(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

/// A scenario with a piece of it replaced by something else.
pub fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<Vec<u8>>(),
        "[-:{}\\[\\]&*!|>'\"%@`#,? \n\ta-z0-9$_.]{0,12}".prop_map(String::into_bytes),
        Just(b"{out: long, as: x}".to_vec()),
        Just(b"\"${".to_vec()),
        Just("\u{2028}\u{1f600}\u{feff}\r".as_bytes().to_vec()),
        Just(b"-99999999999999999999999".to_vec()),
    ];
    let text = prop_oneof![Just(CHARDEV), Just(HELLO), Just(SYSCALL)];
    (text, any::<prop::sample::Index>(), 0..40_usize, piece).prop_map(|(text, at, length, piece)| {
        let at = at.index(text.len());
        let mut bytes = text.as_bytes().to_vec();
        bytes.splice(at..(at + length).min(text.len()), piece);
        bytes
    })
}
