//! Whether the files of a kernel belong together. Everything that is found in a guest's memory is found by the
//! symbols, and lines by the debug info of vmlinux: those of another build would lead to nonsense.

use super::Kernel;
use crate::symbols::Symbols;
use object::{Object, ObjectSegment, ReadCache, ReadRef};
use std::{fs::File, io::BufReader, path::Path};

/// What can be relied on.
#[derive(Debug, Default)]
pub struct Fit {
    /// Of the kernel that is booted; empty if there are none.
    pub symbols: Symbols,
    /// Its `vmlinux` is the kernel that is booted.
    pub has_vmlinux: bool,
    /// What is lost, and why; a line each.
    pub notes: Vec<String>,
}

/// What the kernel says first, and keeps under this name.
const BANNER: (&str, &[u8]) = ("linux_banner", b"Linux version ");

/// What there is to know of a guest without its symbols.
const WITHOUT: &str = "its log is read from the serial port, which takes time, addresses have no names, and neither taint \
                       nor what tasks wait for is known";

pub(super) fn check(kernel: &Kernel, symbols: Symbols) -> Fit {
    let mut fit = Fit { symbols, has_vmlinux: true, notes: Vec::new() };
    if let Some(address) = fit.symbols.address(BANNER.0)
        && is_at(&kernel.boot, address, BANNER.1) == Some(false)
    {
        fit.symbols = Symbols::default();
        let map = kernel.map.display();
        fit.notes.push(format!(
            "{map} is of another build than the kernel that is booted: {WITHOUT}; {}",
            advice(kernel)
        ));
    } else if fit.symbols.is_empty() {
        let advice = "give a vmlinux with its symbols, or a kernel with CONFIG_KALLSYMS_ALL=y";
        fit.notes.push(format!("the kernel has no symbols: {WITHOUT}; {advice}"));
    } else if let Some(lacking) =
        ["prb", "init_top_pgt"].into_iter().find(|it| fit.symbols.address(it).is_none())
    {
        // What kallsyms has of a kernel without CONFIG_KALLSYMS_ALL: functions alone.
        fit.notes.push(format!(
            "the kernel's symbols lack {lacking}: its log is read from the serial port, which takes time; give a vmlinux \
             with all of its symbols, or a kernel with CONFIG_KALLSYMS_ALL=y"
        ));
    }
    let ids = [&kernel.vmlinux, &kernel.boot].map(|path| build_id(path));
    if let [Some(vmlinux), Some(boot)] = &ids
        && vmlinux != boot
    {
        fit.has_vmlinux = false;
        let vmlinux = kernel.vmlinux.display();
        fit.notes.push(format!(
            "{vmlinux} is of another build than the kernel that is booted: code has no file and line; {}",
            advice(kernel)
        ));
    }
    fit
}

fn advice(kernel: &Kernel) -> String {
    let entry = kernel.map.parent().unwrap_or(&kernel.map);
    format!("remove the folder {}, and the kernel is made again", entry.display())
}

/// Whether these bytes are at an address of a file that is loaded there; `None` for no ELF file.
fn is_at(path: &Path, address: u64, bytes: &[u8]) -> Option<bool> {
    let cache = ReadCache::new(BufReader::new(File::open(path).ok()?));
    let file = object::File::parse(&cache).ok()?;
    // A segment has megabytes, so it is not read as a whole.
    let mut places = file.segments().filter_map(|segment| {
        let (offset, size) = segment.file_range();
        let within = address.checked_sub(segment.address())?;
        (within.checked_add(bytes.len() as u64)? <= size).then(|| offset.checked_add(within))?
    });
    Some(places.any(|offset| (&cache).read_bytes_at(offset, bytes.len() as u64) == Ok(bytes)))
}

fn build_id(path: &Path) -> Option<Vec<u8>> {
    let cache = ReadCache::new(BufReader::new(File::open(path).ok()?));
    let file = object::File::parse(&cache).ok()?;
    Some(file.build_id().ok()??.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compiler, syscall_table::SyscallTable};
    use board::wire::Announce;
    use std::{fs, path::PathBuf, process::Command};

    /// A program as a kernel: it has the banner, at an address of its own, and an id.
    fn linked(folder: &Path, name: &str, padding: usize) -> PathBuf {
        let source = folder.join(format!("{name}.c"));
        let text = format!(
            "const char before[{padding}] = {{1}}; const char linux_banner[] = \"Linux version 6.12 #{padding}\"; \
             int prb, init_top_pgt; void _start(void) {{}}"
        );
        fs::write(&source, text).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-nostdlib", "-static", "-Wl,--build-id=sha1", "-o"]).arg(folder.join(name)).arg(source);
        assert!(gcc.status().unwrap().success());
        folder.join(name)
    }

    fn kernel(vmlinux: PathBuf, boot: PathBuf) -> Kernel {
        Kernel {
            release: String::new(),
            hash: String::new(),
            map: vmlinux.with_file_name("System.map"),
            vmlinux,
            boot,
            build: PathBuf::new(),
            config: PathBuf::new(),
            syscalls: SyscallTable::default(),
            compiler: Compiler::Gcc,
            announce: Announce::CommandLine,
            early: Vec::new(),
            cached: true,
        }
    }

    fn symbols(of: &Path) -> Symbols {
        Symbols::from_elf(&fs::read(of).unwrap()).unwrap()
    }

    #[test]
    fn files_of_one_build_fit() {
        let folder = tempfile::tempdir().unwrap();
        let vmlinux = linked(folder.path(), "vmlinux", 8);
        let boot = folder.path().join("vmlinux.boot");
        let strip = Command::new("strip").arg("-o").args([&boot, &vmlinux]).status();
        assert!(strip.unwrap().success());
        let fit = check(&kernel(vmlinux.clone(), boot), symbols(&vmlinux));
        assert!(fit.has_vmlinux && !fit.symbols.is_empty() && fit.notes.is_empty(), "{fit:?}");
    }

    #[test]
    fn files_of_another_build_are_said_and_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let [vmlinux, boot] =
            [("vmlinux", 8), ("boot", 4096)].map(|(name, size)| linked(folder.path(), name, size));
        let other_map = check(&kernel(boot.clone(), boot.clone()), symbols(&vmlinux));
        assert!(other_map.symbols.is_empty() && other_map.has_vmlinux, "{other_map:?}");
        let [note] = &other_map.notes[..] else { panic!("{other_map:?}") };
        assert!(
            note.contains("System.map is of another build") && note.contains("remove the folder"),
            "{note}"
        );

        let other_vmlinux = check(&kernel(vmlinux.clone(), boot.clone()), symbols(&boot));
        assert!(!other_vmlinux.symbols.is_empty() && !other_vmlinux.has_vmlinux, "{other_vmlinux:?}");
        let [note] = &other_vmlinux.notes[..] else { panic!("{other_vmlinux:?}") };
        assert!(note.contains("vmlinux is of another build"), "{note}");
    }

    #[test]
    fn missing_symbols_are_said() {
        let folder = tempfile::tempdir().unwrap();
        let vmlinux = linked(folder.path(), "vmlinux", 8);
        let kernel = kernel(vmlinux.clone(), vmlinux);
        let none = check(&kernel, Symbols::default());
        assert!(none.notes[0].contains("no symbols") && none.notes.len() == 1, "{none:?}");
        let functions = Symbols::from_map("ffffffff81000000 T _text\n").unwrap();
        let some = check(&kernel, functions.clone());
        assert!(
            some.notes[0].contains("lack prb") && some.symbols.to_map() == functions.to_map(),
            "{some:?}"
        );
        // What can't be read is somebody else's to say.
        let gone = Kernel { boot: "/nowhere".into(), vmlinux: "/dev/null".into(), ..kernel };
        assert_eq!(check(&gone, functions).notes.len(), 1);
    }
}
