//! A benchmark in an emulated host: one that is booted for it alone, with QEMU in its initrd, so that both
//! contenders run on the same KVM.

use super::{
    EmulatedError, HostFile, initrd,
    qemu::{Qemu as Emulator, Start},
};
use crate::boot_bench::{self, BootBench, Qemu, Sample};
use base::stage::Stage;
use board::wire::Spec;
use plan::ldd::libraries;
use std::{fs, io, path::Path, thread, time::Duration};

/// What is to be measured, as JSON, in the host.
pub(super) const ORDER: &str = "/bench/order";

/// Where things are in the host.
const KERNEL: &str = "/bench/kernel";
const INITRAMFS: &str = "/bench/initramfs";
const PROGRAM: &str = "/bench/qemu";
const FIRMWARE: &str = "/bench/firmware";

/// Lines of the host's console that are ours begin like this.
const MARK: &str = "bench: ";
const END: &str = "bench: end";

/// Firmware that microvm loads, whatever the kernel is.
const ROMS: [&str; 6] =
    ["bios-microvm.bin", "qboot.rom", "pvh.bin", "linuxboot_dma.bin", "linuxboot.bin", "kvmvapic.bin"];

/// For the host, its initrd and QEMU, in MiB; the guest's memory comes on top.
const OWN_MEMORY_MIB: u32 = 1024;

/// Measures in a host that is booted for this alone.
///
/// # Errors
/// The host failed, or `stop` said so.
pub fn bench_boot(
    files: &Path,
    machine: Spec,
    runs: u32,
    stop: &dyn Fn() -> bool,
    sink: &mut dyn FnMut(Sample),
) -> Result<(), EmulatedError> {
    let folder = Stage::running().map_err(EmulatedError::Folder)?;
    let (qemu, mut more) = qemu_files(files)?;
    for (source, place) in [(&machine.kernel, KERNEL), (&machine.initramfs, INITRAMFS)] {
        more.push((place.to_owned(), 0o444, read(source)?));
    }
    let memory_mib = OWN_MEMORY_MIB + machine.memory_mib;
    let order = BootBench {
        machine: Spec { kernel: KERNEL.into(), initramfs: INITRAMFS.into(), ..machine },
        runs,
        qemu: Some(qemu),
    };
    let order = serde_json::to_vec(&order).expect("plain data");
    more.push((ORDER.to_owned(), 0o444, order));
    let initrd = initrd::with(files, folder.path().join("initrd"), &more)?;
    let mut host = Emulator::start(
        files,
        &[folder.path().to_owned()],
        memory_mib,
        &Start::Boot(&initrd, machine::tsc::rate_khz()),
    )?;
    let mut told = 0;
    loop {
        // Whether it still runs has to be known before what it wrote last is read.
        let alive = host.check();
        let console = fs::read(folder.path().join("console")).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).into_owned();
        let whole = console.rfind('\n').map_or("", |end| &console[..end]);
        let ours: Vec<&str> = whole.lines().map(str::trim).filter(|line| line.starts_with(MARK)).collect();
        for line in &ours[told..] {
            if *line == END {
                return Ok(());
            }
            if let Ok(sample) = serde_json::from_str(&line[MARK.len()..]) {
                sink(sample);
            }
        }
        told = ours.len();
        alive?;
        if stop() {
            return Err(EmulatedError::Interrupted);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// QEMU as it is in a host with these files: itself, what it links to, and its firmware. Debian's build for microvm alone
/// is the quickest contender. `files` is where `./setup emulator` puts what an emulated host needs.
///
/// # Errors
/// It is not there.
pub fn qemu_files(files: &Path) -> Result<(Qemu, Vec<HostFile>), EmulatedError> {
    let root = files.join("root");
    let bin = root.join("usr/bin");
    let candidates = [
        bin.join("qemu-system-x86_64-microvm"),
        bin.join("qemu-system-x86_64"),
        files.join("qemu-system-x86_64"),
    ];
    let program = candidates
        .iter()
        .find_map(|path| path.is_file().then(|| fs::canonicalize(path).ok()).flatten())
        .ok_or_else(|| EmulatedError::Missing(candidates[1].clone()))?;
    let mut more = vec![(PROGRAM.to_owned(), 0o555, read(&program)?)];
    let own = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|path| root.join(path));
    for (place, path) in libraries(&program, &own).map_err(EmulatedError::io("run ldd on", &program))? {
        more.push((place, 0o555, read(&path)?));
    }
    let places = [root.join("usr/share/qemu"), root.join("usr/share/seabios"), "/usr/share/qemu".into()];
    for rom in ROMS {
        if let Some(path) = places.iter().map(|place| place.join(rom)).find(|path| path.is_file()) {
            more.push((format!("{FIRMWARE}/{rom}"), 0o444, read(&path)?));
        }
    }
    Ok((Qemu { program: PROGRAM.into(), firmware: Some(FIRMWARE.into()) }, more))
}

fn read(path: &Path) -> Result<Vec<u8>, EmulatedError> {
    fs::read(path).map_err(EmulatedError::io("read", path))
}

/// In the host: measures, and says each sample on the console.
pub(super) fn inside() -> io::Result<()> {
    let order: BootBench = serde_json::from_slice(&fs::read(ORDER)?)?;
    boot_bench::measure(&order, &|| false, &mut |sample| {
        println!("{MARK}{}", serde_json::to_string(&sample).expect("plain data"));
    });
    println!("{END}");
    // The console is slow, and what is still on its way goes with the host.
    thread::sleep(Duration::from_secs(1));
    Ok(())
}
