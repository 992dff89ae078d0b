//! The saved machine that a scenario can start from.

use crate::Abort;
use base::cache::{Cache, CacheError, Kind};
use board::wire::{About, Spec};
use plan::Warm;
use scenario::model::{EndingKind, Scenario};
use std::{fs, io::Read, os::unix::fs::MetadataExt, path::Path};

/// What may be done with saved machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Starts {
    /// They are made, and started from.
    #[default]
    Warm,
    /// Each guest boots.
    Cold,
}

/// The one that fits: its name changes with everything that a guest can be told apart by before its scenario begins.
/// Processor and KVM are looked at where it runs.
pub(super) fn fitting(
    machine: &Spec,
    kernel: &judge::Kernel,
    base: &[u8],
    cache: &Cache,
) -> Result<Warm, Abort> {
    let Spec { memory_mib, vcpus, announce, command_line, landmarks, .. } = machine;
    let program = identity(
        &base::program::path().map_err(|e| Abort::infra(format!("failed to find this program: {e}")))?,
    )?;
    let parts = [
        format!("{} {program}", env!("CARGO_PKG_VERSION")),
        format!("{} {}", kernel.hash, identity(&machine.kernel)?),
        format!("{memory_mib} {vcpus} {announce:?} {command_line:?}"),
        format!("{landmarks:?}"),
    ];
    let mut sum = blake3::Hasher::new();
    parts.iter().for_each(|part| _ = sum.update(format!("{part}\n").as_bytes()));
    sum.update(base);
    let mut key = sum.finalize().to_hex().to_string();
    key.truncate(32);
    let about = About {
        release: kernel.release.clone().unwrap_or_default(),
        kernel: kernel.hash.clone(),
        memory_mib: *memory_mib,
        vcpus: *vcpus,
        command_line: command_line.clone(),
        ..About::default()
    };
    let folder = cache.place(Kind::Machine, "");
    Ok(Warm { folder, key, about, session: 0, reset: false, keep: false, verify: false })
}

/// What make goes by, and the inode.
fn identity(path: &Path) -> Result<String, Abort> {
    let cant = CacheError::io("look at", path);
    let meta = fs::metadata(path).map_err(cant)?;
    Ok(format!("{} {}.{} {}", meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino()))
}

/// Whether a scenario's guest may start from a saved machine: not where the boot itself is looked at.
pub(super) fn may(scenario: &Scenario) -> bool {
    let boots = scenario.expect.ending.as_ref().is_some_and(|ending| ending.kind == EndingKind::BootFailed);
    !scenario.machine.cold && !boots
}

/// A number that no other session has.
pub(super) fn number() -> u64 {
    let mut bytes = [0; 8];
    let drawn = fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    // Without, it is told apart by who and when it is.
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    match drawn {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => now().as_nanos() as u64 ^ u64::from(std::process::id()) << 32,
    }
}
