//! The programs that a kernel is built with, and how make is told.

use crate::debian;
use base::cache::Cache;
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
};
use thiserror::Error;

/// A build can't start.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("find {}: install {} (./setup installs all that builds need)", programs(.0), packages(.0))]
pub struct Missing(pub Vec<(String, String)>);

fn programs(missing: &[(String, String)]) -> String {
    missing.iter().map(|(program, _)| program.as_str()).collect::<Vec<_>>().join(", ")
}

fn packages(missing: &[(String, String)]) -> String {
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| package.as_str()).collect();
    packages.sort_unstable();
    packages.dedup();
    packages.join(", ")
}

/// The C compiler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compiler {
    /// gcc and GNU binutils.
    #[default]
    Gcc,
    /// clang and LLVM's binutils (`LLVM=1`).
    Llvm {
        /// Behind every program's name, such as `-19`; may be empty.
        suffix: String,
    },
}

impl std::fmt::Display for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.cc())
    }
}

impl Compiler {
    fn cc(&self) -> String {
        match self {
            Self::Gcc => "gcc".to_owned(),
            Self::Llvm { suffix } => format!("clang{suffix}"),
        }
    }

    fn ld(&self) -> String {
        match self {
            Self::Gcc => "ld".to_owned(),
            Self::Llvm { suffix } => format!("ld.lld{suffix}"),
        }
    }

    /// The newest clang that is installed with its linker: `clang`, or else one of Debian's `clang-19` and
    /// the like.
    pub fn newest_llvm() -> Option<Self> {
        let plain = Self::Llvm { suffix: String::new() };
        // Rust knows kernels built by clang from version 11 on; the upper end is far off.
        let versions = (11..60).rev().map(|version| Self::Llvm { suffix: format!("-{version}") });
        std::iter::once(plain).chain(versions).find(Self::is_there)
    }

    /// Whether compiler and linker are installed.
    pub fn is_there(&self) -> bool {
        find(&self.cc()).is_some() && find(&self.ld()).is_some()
    }

    /// Programs without which no kernel builds, and the Debian packages that have them.
    fn needs(&self) -> Vec<(String, String)> {
        let mut needs = match self {
            Self::Gcc => vec![("gcc", "gcc"), ("ld", "binutils")],
            Self::Llvm { .. } => vec![],
        };
        needs.extend([
            ("make", "make"),
            ("flex", "flex"),
            ("bison", "bison"),
            ("bc", "bc"),
            ("strip", "binutils"),
        ]);
        let mut needs: Vec<_> = needs.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        if let Self::Llvm { suffix } = self {
            needs.push((self.cc(), format!("clang{suffix}")));
            needs.push((self.ld(), format!("lld{suffix}")));
            needs.push((format!("llvm-objcopy{suffix}"), format!("llvm{suffix}")));
        }
        needs
    }
}

/// Where a program is, going by PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Something that can be built, or brought into a guest, with what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// In a few words.
    pub name: &'static str,
    /// Programs or files that are not here, each with what has it.
    pub missing: Vec<(String, String)>,
}

/// Everything that make gets told beside the target.
#[derive(Clone, Debug)]
pub struct Toolchain {
    pub(crate) compiler: Compiler,
    path: std::ffi::OsString,
    /// Names and values.
    env: Vec<(&'static str, PathBuf)>,
    /// The source of Rust's core library, for a rustc without `rust-src`.
    library: Option<PathBuf>,
    ccache: bool,
}

impl Toolchain {
    /// Finds what this machine has.
    pub fn find(compiler: &Compiler, cache: &Cache) -> Self {
        let tools = cache.root().join("tools");
        let old = env::var_os("PATH").unwrap_or_default();
        let path =
            env::join_paths([tools.join("bin")].into_iter().chain(env::split_paths(&old))).unwrap_or(old);
        let mut env = vec![
            ("CCACHE_DIR", cache.root().join("ccache")),
            // Paths below become relative to ccache, so that one build folder's objects serve another.
            ("CCACHE_BASEDIR", cache.root().join("work")),
            // But what compilers say of them is for people.
            ("CCACHE_ABSSTDERR", "true".into()),
        ];
        if env::var_os("LIBCLANG_PATH").is_none()
            && let Some(folder) = libclang()
        {
            env.push(("LIBCLANG_PATH", folder));
        }
        let library = Some(tools.join("rust-src/library")).filter(|path| path.is_dir());
        Self { compiler: compiler.clone(), path, env, library, ccache: find("ccache").is_some() }
    }

    /// The same without ccache: what somebody's makefile may write to would be the next one's object.
    #[must_use]
    pub fn without_ccache(mut self) -> Self {
        self.ccache = false;
        self
    }

    /// Whether compilers' results are kept.
    pub fn has_ccache(&self) -> bool {
        self.ccache
    }

    /// Checks that a kernel can be built, before hours are spent on finding out.
    ///
    /// # Errors
    /// All that is missing.
    pub fn check(&self) -> Result<(), Missing> {
        let missing: Vec<_> =
            self.compiler.needs().into_iter().filter(|(program, _)| find(program).is_none()).collect();
        if missing.is_empty() { Ok(()) } else { Err(Missing(missing)) }
    }

    /// Versions of all that shapes the product, a line each.
    pub fn identity(&self) -> String {
        let commands = [self.compiler.cc(), self.compiler.ld(), "rustc".to_owned(), "bindgen".to_owned()];
        // rustc is a proxy that takes its time; so all at once.
        thread::scope(|scope| {
            let source = scope.spawn(|| self.has_rust_source());
            let versions = self.versions(commands);
            // Without it the same programs make another kernel: one that has no Rust in it.
            let without = if source.join().unwrap_or(false) { "" } else { "no source of Rust's library\n" };
            versions + without
        })
    }

    fn versions(&self, commands: [String; 4]) -> String {
        let asked: Vec<_> = commands
            .into_iter()
            .map(|program| {
                let path = self.path.clone();
                thread::spawn(move || {
                    let output = Command::new(&program).arg("--version").env("PATH", path).output();
                    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
                    let version = said.ok().and_then(|said| said.lines().next().map(str::to_owned));
                    format!("{program}: {}\n", version.unwrap_or_else(|| "none".to_owned()))
                })
            })
            .collect();
        asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
    }

    fn has_rust_source(&self) -> bool {
        self.library.is_some() || env::var_os("RUST_LIB_SRC").is_some() || sysroot_has_source()
    }

    /// What this machine can build, and what it lacks for the rest.
    pub fn purposes(cache: &Cache) -> Vec<Purpose> {
        let clang = Compiler::newest_llvm().unwrap_or(Compiler::Llvm { suffix: String::new() });
        let tools = Self::find(&Compiler::Gcc, cache);
        let lacking = |programs: Vec<(String, String)>| {
            programs.into_iter().filter(|(program, _)| tools.find_program(program).is_none()).collect()
        };
        let named = |all: &[(&str, &str)]| {
            lacking(all.iter().map(|(program, package)| ((*program).into(), (*package).into())).collect())
        };
        let mut rust: Vec<(String, String)> = named(&[
            ("rustc", "Rust by rustup (https://rustup.rs)"),
            ("bindgen", "bindgen-cli by `cargo install --locked bindgen-cli`"),
        ]);
        if !tools.has_rust_source() {
            rust.push((
                "the source of Rust's library".into(),
                "rust-src by `rustup component add rust-src`".into(),
            ));
        }
        let is_there = |folder: &str, header: &str| Path::new(folder).join(header).exists();
        let mut gcc: Vec<(String, String)> = lacking(Compiler::Gcc.needs());
        // The kernel's objtool, which most configurations want, is built by it.
        if !["/usr/include", "/usr/include/libelf"].iter().any(|folder| is_there(folder, "gelf.h")) {
            gcc.push(("gelf.h".into(), "libelf-dev".into()));
        }
        // What most of them are linked with that no compiler brings.
        let headers = [
            ("sys/capability.h", "libcap-dev"),
            ("cap-ng.h", "libcap-ng-dev"),
            ("numa.h", "libnuma-dev"),
            ("popt.h", "libpopt-dev"),
            ("libmnl/libmnl.h", "libmnl-dev"),
        ];
        let selftests = headers.into_iter().filter(|(header, _)| !is_there("/usr/include", header));
        let selftests = selftests.map(|(header, package)| (header.to_owned(), package.to_owned())).collect();
        let purpose = |name, missing| Purpose { name, missing };
        vec![
            purpose("kernels, modules in C", gcc),
            purpose("kernels' sources", named(&debian::NEEDS)),
            purpose("kernels by clang (7.3)", lacking(clang.needs())),
            purpose("modules in Rust", rust),
            purpose("faster builds", named(&[("ccache", "ccache")])),
            purpose("programs in guests", named(&[("busybox", "busybox-static")])),
            purpose("all selftests", selftests),
        ]
    }

    fn find_program(&self, program: &str) -> Option<PathBuf> {
        env::split_paths(&self.path).map(|folder| folder.join(program)).find(|path| is_program(path))
    }

    /// Adds what make needs to a command: environment, and variables on its command line.
    pub fn apply(&self, make: &mut Command) {
        // Variables of whoever called us (a makefile, perhaps) are no part of a recipe.
        for name in [
            "MAKEFLAGS",
            "MFLAGS",
            "MAKELEVEL",
            "MAKEOVERRIDES",
            "O",
            "M",
            "V",
            "W",
            "C",
            "CC",
            "LD",
            "LLVM",
            "ARCH",
            "CROSS_COMPILE",
            "KBUILD_OUTPUT",
            "KBUILD_EXTMOD",
            "KBUILD_VERBOSE",
            "KCFLAGS",
            "KRUSTFLAGS",
            "LOCALVERSION",
            "INSTALL_MOD_PATH",
            "KCONFIG_CONFIG",
            "KCONFIG_ALLCONFIG",
        ] {
            make.env_remove(name);
        }
        make.env("PATH", &self.path).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(library) = &self.library
            && env::var_os("RUST_LIB_SRC").is_none()
            && !sysroot_has_source()
        {
            make.env("RUST_LIB_SRC", library);
        }
        // Fixed, so that the same recipe gives the same bytes, and ccache finds what it had.
        make.env("KBUILD_BUILD_TIMESTAMP", "1970-01-01 00:00:00 UTC");
        make.env("KBUILD_BUILD_USER", "vmm").env("KBUILD_BUILD_HOST", "vmm").env("KBUILD_BUILD_VERSION", "1");
        let ccache = if self.ccache { "ccache " } else { "" };
        make.arg(format!("CC={ccache}{}", self.compiler.cc()));
        if let Compiler::Llvm { suffix } = &self.compiler {
            make.arg(format!("LLVM={}", if suffix.is_empty() { "1" } else { suffix }));
        }
    }
}

/// bindgen loads libclang; where Debian puts it is no place that every version of it looks at.
fn libclang() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path().join("lib"));
    let has = |folder: &PathBuf| {
        let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| {
            let name = name.to_string_lossy().into_owned();
            name.starts_with("libclang.so") || name.starts_with("libclang-") && name.contains(".so")
        })
    };
    let version = |folder: &PathBuf| -> Option<u32> {
        folder.parent()?.file_name()?.to_str()?.strip_prefix("llvm-")?.parse().ok()
    };
    folders.filter(|folder| version(folder).is_some() && has(folder)).max_by_key(version)
}

fn sysroot_has_source() -> bool {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output();
    output.is_ok_and(|output| {
        let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Path::new(&root).join("lib/rustlib/src/rust/library").is_dir()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_listed_with_their_packages() {
        let missing = Missing(vec![
            ("ld".into(), "binutils".into()),
            ("flex".into(), "flex".into()),
            ("strip".into(), "binutils".into()),
        ]);
        let text = missing.to_string();
        assert!(text.starts_with("find ld, flex, strip: install binutils, flex ("), "{text}");
    }

    #[test]
    fn a_compiler_that_is_not_there_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let missing =
            Toolchain::find(&Compiler::Llvm { suffix: "-0".to_owned() }, &cache).check().unwrap_err();
        assert!(missing.0.contains(&("clang-0".to_owned(), "clang-0".to_owned())), "{missing:?}");
    }

    #[test]
    fn what_is_missing_is_missing_for_something() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let mut tools = Toolchain::find(&Compiler::Gcc, &cache);
        assert!(tools.find_program("sh").is_some());
        tools.path = folder.path().into();
        assert_eq!(tools.find_program("sh"), None);
        let purposes = Toolchain::purposes(&cache);
        let names: Vec<&str> = purposes.iter().map(|purpose| purpose.name).collect();
        assert!(
            names.contains(&"modules in Rust")
                && names.contains(&"kernels' sources")
                && names.contains(&"kernels by clang (7.3)"),
            "{names:?}"
        );
        // These tests themselves are built by them.
        let c = purposes.iter().find(|purpose| purpose.name == "kernels, modules in C").unwrap();
        assert!(!c.missing.iter().any(|(program, _)| program == "gcc" || program == "ld"), "{c:?}");
    }

    #[test]
    fn the_callers_variables_stay_out() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let mut make = Command::new("make");
        Toolchain::find(&Compiler::Gcc, &cache).apply(&mut make);
        let removed: Vec<_> =
            make.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert!(removed.contains(&std::ffi::OsStr::new("MAKEFLAGS")), "{removed:?}");
    }
}
