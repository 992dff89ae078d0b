//! Files that others hand in, damaged in every way: kernels, their symbols, patches, archives. Nothing panics, nothing
//! takes without bound. `PROPTEST_CASES` sets how often each is tried; what once failed stays in `proptest-regressions/`.

use base::unpack::unpack;
use kernel::{patch, symbols::Symbols, unpack_bzimage};
use proptest::prelude::*;
use std::{fs, path::PathBuf, process::Command, sync::OnceLock, time::Instant};

/// A small program with symbols, as the compiler makes it.
fn elf() -> &'static [u8] {
    static ELF: OnceLock<Vec<u8>> = OnceLock::new();
    ELF.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (source, out) = (folder.path().join("a.c"), folder.path().join("a"));
        fs::write(&source, "int b; int f(void) { return b; } int main(void) { return f(); }\n").unwrap();
        let status = Command::new("gcc").args(["-g", "-o"]).args([&out, &source]).status().unwrap();
        assert!(status.success());
        fs::read(out).unwrap()
    })
}

/// A bzImage's header before a payload (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    image[0x1f1] = 3;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    image[0x248..0x24c].copy_from_slice(&0x800u32.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend(payload);
    image
}

fn packed() -> &'static [u8] {
    static PACKED: OnceLock<Vec<u8>> = OnceLock::new();
    PACKED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, elf()).unwrap();
        Command::new("xz").arg("-c").arg(&path).output().unwrap().stdout
    })
}

#[derive(Clone, Debug)]
enum Damage {
    Byte(u32, u8),
    /// Numbers that parsers add up and multiply.
    Word(u32, u64),
    Cut(u32),
    Twice(u32, u16),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let word = prop_oneof![any::<u64>(), Just(u64::MAX), Just(u64::MAX / 2), Just(0), Just(1 << 32)];
    let one = prop_oneof![
        4 => (any::<u32>(), any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)),
        // Headers lie at the beginning.
        4 => (0u32..512, any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)),
        4 => (any::<u32>(), word).prop_map(|(at, value)| Damage::Word(at, value)),
        1 => any::<u32>().prop_map(Damage::Cut),
        1 => (any::<u32>(), any::<u16>()).prop_map(|(at, length)| Damage::Twice(at, length)),
    ];
    prop::collection::vec(one, 1..24)
}

fn damaged(whole: &[u8], damage: &[Damage]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for one in damage {
        let length = bytes.len().max(1);
        match *one {
            Damage::Byte(at, value) => {
                if let Some(byte) = bytes.get_mut(at as usize % length) {
                    *byte = value;
                }
            }
            Damage::Word(at, value) => {
                let at = at as usize % length;
                if let Some(word) = bytes.get_mut(at..at + 8) {
                    word.copy_from_slice(&value.to_le_bytes());
                }
            }
            Damage::Cut(at) => bytes.truncate(at as usize % length),
            Damage::Twice(at, count) => {
                let at = at as usize % length;
                let again: Vec<u8> =
                    bytes[at.min(bytes.len())..].iter().take(count.into()).copied().collect();
                bytes.extend(again);
            }
        }
    }
    bytes
}

/// The most that one of them may take, in milliseconds, on a machine that is busy.
const LONGEST: u128 = 5000;

proptest! {
    #[test]
    fn elf_files(damage in damage()) {
        let started = Instant::now();
        let bytes = damaged(elf(), &damage);
        if let Ok(symbols) = Symbols::from_elf(&bytes) {
            let _ = symbols.function(0x1139);
            let _ = symbols.to_map();
        }
        prop_assert!(started.elapsed().as_millis() < LONGEST);
    }

    #[test]
    fn symbol_maps(text in "([0-9a-f]{0,17} [a-zA-Z] [a-z_.\\[\\]\t ]{0,12}\n?){0,20}", noise in any::<String>()) {
        for text in [text, noise] {
            if let Ok(symbols) = Symbols::from_map(&text) {
                let _ = symbols.function(u64::MAX);
                let _ = symbols.address("");
            }
        }
    }

    #[test]
    fn kernels_and_what_is_packed_in_them(first in damage(), second in damage(), which in 0..3) {
        let started = Instant::now();
        let payload = if which > 0 { damaged(packed(), &first) } else { packed().to_vec() };
        let image = bzimage(&payload);
        let _ = unpack_bzimage(&if which < 2 { damaged(&image, &second) } else { image });
        let _ = unpack(payload);
        prop_assert!(started.elapsed().as_millis() < LONGEST);
    }

    #[test]
    fn patches(lines in prop::collection::vec(prop_oneof![
        "(--- |\\+\\+\\+ |diff --git |rename from |copy to |@@ )?[a-z\"/\\\\. 0-9,+@-]{0,24}",
        Just("new file mode 120000".to_owned()),
        Just("diff --git \"a/\\303\" \"b/\\303\"".to_owned()),
    ], 0..24)) {
        let patch = patch::Patch { path: PathBuf::from("x.patch"), text: lines.join("\n").into_bytes() };
        if let Ok(files) = (patch::Series { patches: vec![patch], recipe: None }).touched() {
            let outside = |path: &PathBuf| path.is_absolute() || path.components().any(|it| it.as_os_str() == "..");
            prop_assert!(!files.iter().any(outside), "{:?}", files);
        }
    }
}
