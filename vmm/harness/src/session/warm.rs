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
    let key = key(&sum);
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

fn key(sum: &blake3::Hasher) -> String {
    let mut key = sum.finalize().to_hex().to_string();
    key.truncate(32);
    key
}

/// The one for this machine's own KVM: no processor has a use for what another saved, and no KVM. Where unlike machines have one
/// home, each keeps its own by this; whether it really fits is looked at where it runs all the same.
pub(super) fn here(warm: Warm) -> Warm {
    // Who can't read them has the name that all others have who can't.
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    on(warm, &read("/proc/cpuinfo"), &read("/proc/version"))
}

fn on(warm: Warm, processors: &str, kernel: &str) -> Warm {
    // All that tells of the kind of a processor; the rest is each one's own, or of the moment.
    const KIND: [&str; 5] = ["vendor_id", "cpu family", "model", "stepping", "flags"];
    let is_kind = |line: &&str| line.split_once(':').is_some_and(|(name, _)| KIND.contains(&name.trim_end()));
    let first = processors.lines().take_while(|line| !line.is_empty()).filter(is_kind);
    let mut sum = blake3::Hasher::new();
    let lines = [&*warm.key].into_iter().chain(first).chain(kernel.lines());
    lines.for_each(|line| _ = sum.update(format!("{line}\n").as_bytes()));
    Warm { key: key(&sum), ..warm }
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

#[cfg(test)]
mod tests {
    use super::*;
    use board::wire::Announce;
    use std::{collections::BTreeMap, time::Duration};

    /// Whatever a guest can be told apart by before its scenario begins gives it a saved machine of its own; where it is to be
    /// written, and which initramfs holds the rest, does not.
    #[test]
    fn a_machine_fits_only_who_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).unwrap();
        let file = folder.path().join("vmlinux");
        fs::write(&file, "a kernel").unwrap();
        let machine = Spec {
            kernel: file.clone(),
            initramfs: "one".into(),
            memory_mib: 128,
            vcpus: 1,
            announce: Announce::CommandLine,
            command_line: vec![],
            landmarks: Default::default(),
            start: Default::default(),
            forgets: false,
        };
        let kernel = judge::Kernel {
            release: None,
            hash: "1".into(),
            cached: true,
            build: Duration::ZERO,
            warnings: vec![],
        };
        let key = |machine: &Spec, kernel: &judge::Kernel, base: &[u8]| {
            fitting(machine, kernel, base, &cache).map(|warm| warm.key).map_err(|why| format!("{why:?}"))
        };
        let first = key(&machine, &kernel, b"base").unwrap();
        let of = |other: Spec| key(&other, &kernel, b"base").unwrap();
        assert_eq!(of(Spec { initramfs: "other".into(), ..machine.clone() }), first);

        let mut landmarks = machine.landmarks.clone();
        landmarks.symbols = BTreeMap::from([("prb".to_owned(), 1)]);
        let mut keys = vec![
            first,
            of(Spec { memory_mib: 129, ..machine.clone() }),
            of(Spec { vcpus: 2, ..machine.clone() }),
            of(Spec { announce: Announce::Acpi, ..machine.clone() }),
            of(Spec { command_line: vec!["a b".into()], ..machine.clone() }),
            of(Spec { command_line: vec!["a".into(), "b".into()], ..machine.clone() }),
            of(Spec { landmarks, ..machine.clone() }),
            key(&machine, &judge::Kernel { hash: "2".into(), ..kernel.clone() }, b"base").unwrap(),
            key(&machine, &kernel, b"other base").unwrap(),
        ];
        // Of the same name and length, and another file.
        fs::rename(&file, folder.path().join("before")).unwrap();
        fs::write(&file, "a_kernel").unwrap();
        keys.push(key(&machine, &kernel, b"base").unwrap());
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all, "two of them have one machine");
        fs::remove_file(&file).unwrap();
        assert!(key(&machine, &kernel, b"base").is_err());
    }

    #[test]
    fn unlike_machines_with_one_home_have_names_of_their_own_and_one_machine_always_the_same() {
        let key = |processors: &str, kernel: &str| {
            let warm = Warm {
                folder: "/machines".into(),
                key: "0123".into(),
                about: About::default(),
                session: 0,
                reset: false,
                keep: false,
                verify: false,
            };
            on(warm, processors, kernel).key
        };
        let processor = |model: u32, mhz: u32| {
            let one = format!("processor\t: 0\nmodel\t\t: {model}\ncpu MHz\t\t: {mhz}\nflags\t\t: fpu svm\n");
            format!("{one}\n{}", one.replace("fpu", "fpu vme"))
        };
        let first = key(&processor(2, 2596), "Linux version 6.18");
        assert_eq!((first.len(), &first), (32, &key(&processor(2, 3100), "Linux version 6.18")));
        assert_ne!(first, key(&processor(3, 2596), "Linux version 6.18"));
        assert_ne!(first, key(&processor(2, 2596), "Linux version 6.19"));
        assert_ne!(first, key(&processor(2, 2596).replace("fpu svm", "fpu"), "Linux version 6.18"));
    }
}
