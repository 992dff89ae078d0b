//! Builds the guest's agent, which becomes a part of the program: so `cargo install` gives one that works anywhere.
//!
//! Only of a release build: while the rest is being worked on, nobody wants to wait for it, and the agent beside the program does.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../..");
    let out = PathBuf::from(variable("OUT_DIR"));
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", root.join("guest-image").display());
    println!("cargo:rerun-if-changed={}", root.join("kernel-patches").display());
    let agent = out.join("vmm-agent");
    if variable("PROFILE") != "release" {
        fs::write(agent, "").expect("the output folder can be written");
        return;
    }
    let target = variable("TARGET");
    // A folder of its own: cargo has locked the other one.
    let folder = out.join("target");
    // Of the program's flags, those that keep this machine's paths out of a release are for the agent as well.
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let flags = flags.split('\x1f').filter(|flag| flag.starts_with("--remap-path-prefix="));
    let flags: Vec<String> = flags.map(|flag| format!("{flag:?}")).collect();
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let status = Command::new(variable("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "agent",
            "--bin",
            "vmm-agent",
            "--target",
            &target,
        ])
        .arg("--config")
        .arg(format!("target.{target}.rustflags=[{}]", flags.join(",")))
        .arg("--target-dir")
        .arg(&folder)
        .current_dir(&root)
        // What else concerns the program, or clippy, is not for the agent.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the guest's agent does not build; the compiler said why, above");
    let built = folder.join(target).join("release/vmm-agent");
    fs::copy(&built, agent).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
}
