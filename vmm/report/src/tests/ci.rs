//! What the action's scripts make of reports and inputs; `vmm` itself stands there as a script.

use super::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

/// Runs one of the scripts and says what it told the job. `vmm` is what the shell does in its place.
fn output(script: &str, vmm: &str, inputs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("vmm"), format!("#!/bin/sh\n{vmm}\n")).unwrap();
    fs::set_permissions(at("vmm"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ci").join(script);
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let ran = Command::new("bash")
        .arg(script)
        .envs([("PATH", path.as_str()), ("VMM_CACHE", "/cache")])
        .envs([("RUNNER_TEMP", at("temp")), ("GITHUB_OUTPUT", at("output"))])
        .envs(inputs.iter().copied())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let told = fs::read_to_string(at("output")).unwrap();
    told.lines().filter_map(|line| line.split_once('=')).map(|(name, it)| (name.into(), it.into())).collect()
}

/// Else a matrix with more jobs than scenarios is red.
#[test]
fn a_part_that_has_no_scenario_has_none_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let counts = |session: &crate::record::Session| {
        fs::write(&report, json::render(session)).unwrap();
        let copy = format!(
            "for word; do case $word in json=*) cp {} \"${{word#json=}}\" ;; esac; done",
            report.display()
        );
        let told = output("run", &copy, &[]);
        (told["passed"].clone(), told["failed"].clone())
    };
    let mut part = crate::record::Session::planned(&[]);
    part.finished = true;
    part.shard = Some(crate::record::Shard { index: 7, of: 8, plan: "p".into(), run: None });
    assert_eq!(counts(&part), ("0".into(), "0".into()));
    part.runs = recorded().runs;
    assert_eq!(counts(&part), ("3".into(), "2".into()));
}

/// The first job of a matrix to end would leave its kernel under the key, and all others build theirs each time.
#[test]
fn jobs_that_ask_for_other_kernels_have_caches_of_their_own() {
    let key = |inputs: &[(&str, &str)]| output("key", "exit 1", inputs)["key"].clone();
    let plain = key(&[]);
    assert_eq!(key(&[("VMM_ARGS", "\n")]), plain);
    let clang = key(&[("VMM_ARGS", "--llvm\n")]);
    assert!(clang != plain && clang != key(&[("VMM_ARGS", "--series\nnone\n")]), "{clang}");
    let asked = [
        "--llvm=19",
        "--config\ntiny",
        "--config\ndefconfig",
        "--revision\nv6.12",
        "--fragment\nkasan\n--llvm",
    ]
    .map(|args| key(&[("VMM_ARGS", args)]));
    assert_eq!(BTreeSet::from(asked).len(), 5);
    // What is another one in each run would never find a kernel.
    for args in ["--set\nseed=7", "--shard\n1/2\n", "--retry\n2", "--set\n\nconfig=tiny"] {
        assert_eq!(key(&[("VMM_ARGS", args)]), plain, "{args}");
        assert_eq!(key(&[("VMM_ARGS", &format!("{args}\n--llvm"))]), clang, "{args}");
    }
    // Where the kernel's own hash is known, too.
    let known =
        |args: &str| output("key", "echo 0123456789abcdef", &[("VMM_SOURCE", "/"), ("VMM_ARGS", args)]);
    assert_eq!(known("")["key"], "vmm-0123456789abcdef");
    assert_ne!(known("--llvm")["key"], known("")["key"]);
}
