//! One module as the kernel's loader will see it (kernel/module/main.c): the parts of the ELF file that decide
//! whether it loads.

use jail::reader::{Answers, Reader, answers};
use object::{
    Architecture, BinaryFormat, Endianness, Object, ObjectKind, ObjectSection, ObjectSymbol, SectionIndex,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
};

/// What is known of a module.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Module {
    /// `.modinfo`, in its order.
    info: Vec<(String, String)>,
    /// Symbols that something else must bring.
    pub needs: Vec<String>,
    /// Symbols that it brings for others.
    pub exports: Vec<Export>,
    /// The symbols' checksums that it was built with; empty without CONFIG_MODVERSIONS.
    pub versions: BTreeMap<String, u32>,
    /// It has an `init_module`.
    pub starts: bool,
    /// It has a `cleanup_module`.
    pub ends: bool,
}

/// A symbol for others.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Only modules with a GPL-compatible licence may use it.
    pub gpl_only: bool,
}

/// What reads modules, in a process of its own: one after the other.
pub static READER: Reader = Reader { name: "module", memory: 2 << 30, open };

fn open(_: Option<File>) -> Answers {
    answers(|(): (), bytes| (Module::parse(&bytes), Vec::new()))
}

impl Module {
    /// Reads a module's file.
    ///
    /// # Errors
    /// What it is instead, and what to do; continues "x.ko: ".
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        const BUILD: &str = "`vmm module build DIR` makes modules";
        if bytes.is_empty() {
            return Err(format!("is empty; was its build cut off? {BUILD}"));
        }
        if !bytes.starts_with(b"\x7fELF") {
            return Err(format!("is no kernel module: it is no ELF file; {BUILD}"));
        }
        let file = object::File::parse(bytes)
            .map_err(|error| format!("is cut off or damaged ({}); {BUILD}", lower(&error.to_string())))?;
        if (file.architecture(), file.endianness()) != (Architecture::X86_64, Endianness::Little)
            || file.format() != BinaryFormat::Elf
        {
            return Err(format!(
                "is for {}, the kernel for x86-64; build it for this kernel: {BUILD}",
                architecture(file.architecture())
            ));
        }
        if file.kind() != ObjectKind::Relocatable {
            return Err(format!("is a program or a library, not a module; {BUILD}"));
        }
        if file.section_by_name(".gnu.linkonce.this_module").is_none() {
            return Err(format!(
                "is compiled but was not made a module: it has no .gnu.linkonce.this_module; \
                 name the .ko, not the .o; {BUILD}"
            ));
        }
        let damaged =
            |error: object::Error| format!("is cut off or damaged ({}); {BUILD}", lower(&error.to_string()));
        let mut module = Self { info: info(section(&file, ".modinfo").map_err(damaged)?), ..Self::default() };
        module.versions = versions(section(&file, "__versions").map_err(damaged)?);
        let gpl: Vec<SectionIndex> = file
            .sections()
            .filter(|section| section.name() == Ok("__ksymtab_gpl"))
            .map(|section| section.index())
            .collect();
        for symbol in file.symbols() {
            let name = symbol.name().map_err(damaged)?;
            if name.is_empty() {
                continue;
            }
            if symbol.is_undefined() {
                // The kernel lets a weak one be 0, and makes nothing of this one (scripts/mod/modpost.c).
                if !symbol.is_weak() && name != "_GLOBAL_OFFSET_TABLE_" {
                    module.needs.push(name.to_owned());
                }
            } else if let Some(exported) = name.strip_prefix("__ksymtab_") {
                let gpl_only = symbol.section_index().is_some_and(|index| gpl.contains(&index));
                module.exports.push(Export { name: exported.to_owned(), gpl_only });
            } else {
                // The names that module_init and module_exit give them (include/linux/module.h).
                module.starts |= name == "init_module";
                module.ends |= name == "cleanup_module";
            }
        }
        Ok(module)
    }

    /// The first value of a `.modinfo` key.
    pub fn info(&self, key: &str) -> Option<&str> {
        self.info.iter().find(|(name, _)| name == key).map(|(_, value)| &**value)
    }

    /// All values of a `.modinfo` key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.info.iter().filter(move |(name, _)| name == key).map(|(_, value)| &**value)
    }

    /// Its parameters, in alphabetical order (`module_param` and `MODULE_PARM_DESC`, include/linux/moduleparam.h).
    pub fn parameters(&self) -> Vec<String> {
        let texts = ["parmtype", "parm"].into_iter().flat_map(|key| self.all(key));
        let names: BTreeSet<&str> = texts.filter_map(|text| text.split(':').next()).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Whether it may use symbols that are for such modules only (`license_is_gpl_compatible` in
    /// include/linux/license.h).
    pub fn is_gpl(&self) -> bool {
        const COMPATIBLE: [&str; 6] =
            ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];
        self.info("license").is_some_and(|license| COMPATIBLE.contains(&license))
    }
}

fn section<'a>(file: &object::File<'a>, name: &str) -> Result<&'a [u8], object::Error> {
    file.section_by_name(name).map_or(Ok(&[][..]), |section| section.data())
}

/// `key=value`, each ended by a NUL.
fn info(bytes: &[u8]) -> Vec<(String, String)> {
    let texts = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    texts
        .filter_map(|text| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect()
}

/// `struct modversion_info` of include/linux/module.h: an unsigned long and a name, 64 bytes together.
fn versions(bytes: &[u8]) -> BTreeMap<String, u32> {
    let entries = bytes.chunks_exact(64).map(|entry| {
        let (crc, name) = entry.split_at(8);
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let name = String::from_utf8_lossy(&name[..end]).into_owned();
        (name, u32::from_le_bytes([crc[0], crc[1], crc[2], crc[3]]))
    });
    entries.collect()
}

fn architecture(architecture: Architecture) -> String {
    match architecture {
        Architecture::I386 => "32-bit x86".into(),
        Architecture::Aarch64 => "arm64".into(),
        Architecture::Unknown => "an unknown architecture".into(),
        other => format!("{other:?}"),
    }
}

/// An error of the library within a sentence of ours.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}
