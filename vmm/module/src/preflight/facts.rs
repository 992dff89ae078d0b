//! The kernel's side of loading a module: what it is, what it exports, how it was configured.

use kernel::{Kernel, config};
use std::{collections::HashMap, fs, path::PathBuf};

/// What modules are held against. What a kernel does not tell is not checked.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// As the kernel's own modules have it.
    pub vermagic: Option<String>,
    /// What it exports, by name; `None` without a Module.symvers.
    pub exports: Option<Exports>,
    /// Its configuration: `SMP` is `y`; what is not set may be missing, or `n`.
    pub config: Option<HashMap<String, String>>,
    /// Names of all its functions and variables, exported or not.
    pub map: PathBuf,
}

/// A Module.symvers. It has thousands of lines, of which a module needs a few: so it is text until one is asked for.
#[derive(Clone, Debug, Default)]
pub struct Exports(String);

/// A line of Module.symvers (Documentation/kbuild/modules.rst, 6.3).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// Checksum of its type; 0 without CONFIG_MODVERSIONS.
    pub crc: u32,
    /// `vmlinux`, or the path of a module.
    pub owner: String,
    /// For modules with a GPL-compatible licence only.
    pub gpl_only: bool,
    /// Modules have to import this namespace to use it; mostly empty.
    pub namespace: String,
}

impl Facts {
    /// Reads what a kernel's files tell.
    pub fn of(kernel: &Kernel) -> Self {
        let config = fs::read_to_string(&kernel.config).ok().map(|text| {
            let values = config::values(&text).into_iter();
            values.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
        });
        Self {
            release: kernel.release.clone(),
            vermagic: config.as_ref().map(|config| vermagic(&kernel.release, config)),
            exports: fs::read_to_string(kernel.build.join("Module.symvers")).ok().map(Exports::of),
            config,
            map: kernel.map.clone(),
        }
    }

    /// Whether a symbol, without CONFIG_, is set to `y`.
    pub fn has(&self, symbol: &str) -> bool {
        self.config.as_ref().is_some_and(|config| config.get(symbol).is_some_and(|value| value == "y"))
    }

    /// Whether the kernel has something of this name that it may not export.
    pub fn knows(&self, name: &str) -> bool {
        let text = fs::read_to_string(&self.map).unwrap_or_default();
        text.lines().any(|line| line.split(' ').nth(2) == Some(name))
    }
}

/// VERMAGIC_STRING of include/linux/vermagic.h, without the words that only some architectures add.
fn vermagic(release: &str, config: &HashMap<String, String>) -> String {
    let is = |symbol: &str| config.get(symbol).is_some_and(|value| value == "y");
    let words = [
        ("SMP ", is("SMP")),
        ("preempt ", is("PREEMPT_BUILD") && !is("PREEMPT_RT")),
        ("preempt_rt ", is("PREEMPT_RT")),
        ("mod_unload ", is("MODULE_UNLOAD")),
        ("modversions ", is("MODVERSIONS")),
    ];
    let words: String = words.into_iter().filter(|(_, is)| *is).map(|(word, _)| word).collect();
    format!("{release} {words}")
}

impl Exports {
    /// Of the file's text.
    pub fn of(text: String) -> Self {
        Self(text)
    }

    /// What is exported by this name.
    pub fn get(&self, name: &str) -> Option<Export> {
        let wanted = format!("\t{name}\t");
        let mut places = memchr::memmem::find_iter(self.0.as_bytes(), wanted.as_bytes());
        places.find_map(|at| {
            let start = self.0[..at].rfind('\n').map_or(0, |end| end + 1);
            let (found, export) = export(self.0[start..].lines().next()?)?;
            (found == name).then_some(export)
        })
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.lines().filter_map(|line| Some(export(line)?.0))
    }
}

fn export(line: &str) -> Option<(&str, Export)> {
    let mut fields = line.split('\t');
    let crc = fields.next()?.strip_prefix("0x")?;
    let (name, owner, kind) = (fields.next()?, fields.next()?, fields.next()?);
    let export = Export {
        crc: u32::from_str_radix(crc, 16).ok()?,
        owner: owner.to_owned(),
        gpl_only: kind.contains("_GPL"),
        namespace: fields.next().unwrap_or_default().to_owned(),
    };
    Some((name, export))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(symbols: &[&str]) -> HashMap<String, String> {
        symbols.iter().map(|symbol| ((*symbol).to_owned(), "y".to_owned())).collect()
    }

    #[test]
    fn vermagic_is_as_modpost_writes_it() {
        assert_eq!(vermagic("6.12.1-x", &config(&["SMP", "MODULE_UNLOAD"])), "6.12.1-x SMP mod_unload ");
        let all = config(&["SMP", "PREEMPT_BUILD", "MODULE_UNLOAD", "MODVERSIONS"]);
        assert_eq!(vermagic("6.1", &all), "6.1 SMP preempt mod_unload modversions ");
        let rt = config(&["PREEMPT_BUILD", "PREEMPT_RT"]);
        assert_eq!(vermagic("6.1-rt", &rt), "6.1-rt preempt_rt ");
    }

    #[test]
    fn module_symvers_is_read_with_and_without_namespace() {
        let text = "0x1a2b3c4d\t_printk\tvmlinux\tEXPORT_SYMBOL\t\n\
                    0x00000000\ta\tdrivers/a\tEXPORT_SYMBOL_GPL\tUSB\nrubbish\n";
        let exports = Exports::of(text.to_owned());
        assert_eq!(exports.names().collect::<Vec<_>>(), ["_printk", "a"]);
        let printk = exports.get("_printk").unwrap();
        assert_eq!((printk.crc, &*printk.owner, printk.gpl_only), (0x1a2b3c4d, "vmlinux", false));
        let a = exports.get("a").unwrap();
        assert!(a.gpl_only && a.namespace == "USB");
        // What is no name.
        assert_eq!(
            ["vmlinux", "drivers/a", "rubbish", "", "a\tdrivers/a"].map(|it| exports.get(it)),
            [const { None }; 5]
        );
    }
}
