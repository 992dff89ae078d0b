//! `vmm kernel`: building kernels, and looking after those that were built.

mod patch;
pub mod table;

use crate::{
    gc::GcArgs,
    machine,
    say::{failed, out as say},
};
use base::{
    cache::{Cache, Kind},
    project,
    wanted::Wanted,
};
use clap::{Args, Subcommand};
use harness::machines;
use kernel::{
    Kernel, KernelError, menuconfig,
    parcel::{self, Parcel},
    store::{self, Rule},
    wanted::Meant,
};
use std::{fs, path::PathBuf};

/// Build kernels, and look after those that were built.
#[derive(Debug, Args)]
pub struct KernelArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a kernel, or find it built
    ///
    /// The source is never written to: a copy of it is patched and built in the cache's work folder, where the next
    /// build of the same source finds its objects. The result is kept by a hash of all that it was made from.
    #[command(after_long_help = "\
Examples:
  vmm kernel build                                             the default kernel
  vmm kernel build 7.3                                         another series
  vmm kernel build --source ~/linux                            a folder, with the patches for its version
  vmm kernel build --source ~/linux#v6.12 --series none        a revision of a git repository, as it is
  vmm kernel build --source linux-6.12.tar.xz --fragment kasan
  vmm kernel build --config /boot/config-6.1.0-37-amd64 --source linux-source-6.1 --series none")]
    Build {
        /// A series: what --kernel of `vmm run` takes
        #[arg(value_name = "KERNEL")]
        kernel: Option<String>,
        #[command(flatten)]
        recipe: RecipeArgs,
        /// Others wrote a part of it, and their makefiles may do anything: leave nothing in the build folder and in ccache
        #[arg(long)]
        apart: bool,
    },
    /// List the kernels that were built
    List,
    /// Show what a kernel was made from, and its files
    Show {
        /// Its hash, or enough of its first digits
        hash: String,
    },
    /// Remove kernels, with build folders that only they used and machines that were saved with them
    #[command(after_long_help = "\
Examples:
  vmm kernel gc --keep 3                 all but the three most recently used
  vmm kernel gc --older 30d --dry-run    what was not used for thirty days: only say it")]
    Gc(GcArgs),
    /// Print the hash that a kernel has, or would have, without building it
    Hash {
        /// A series: what --kernel of `vmm run` takes
        #[arg(value_name = "KERNEL")]
        kernel: Option<String>,
        #[command(flatten)]
        recipe: RecipeArgs,
    },
    /// Write a kernel that was built to one file (tar.zst), for another machine
    Export {
        /// Its hash, or enough of its first digits
        hash: String,
        /// The file
        file: PathBuf,
    },
    /// Put a kernel that was exported into the cache
    ///
    /// Every file is held against the manifest. With --digest the manifest is, too: take that from a place which nobody else
    /// can write to, or trust the file.
    Import {
        /// The file
        file: PathBuf,
        /// What its export printed as digest
        #[arg(long, value_name = "SHA256")]
        digest: Option<String>,
    },
    /// Change a configuration by the kernel's own menus; prints the changes as a fragment
    Menuconfig {
        /// A series
        #[arg(value_name = "KERNEL")]
        kernel: Option<String>,
        #[command(flatten)]
        recipe: RecipeArgs,
        /// Write the fragment to this file
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    /// Look after series of patches
    Patch(patch::PatchArgs),
}

/// What a kernel is built from.
#[derive(Debug, Default, Args)]
pub struct RecipeArgs {
    /// Build this: a folder, a tarball or its address and #sha256=HEX, a Debian package (linux-source-6.12), or a git
    /// repository and #REVISION
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Take this git revision of the source
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Put this folder's patches on it; `none` for none [default: those for the source's version]
    #[arg(long, value_name = "DIR")]
    series: Option<String>,
    /// Configure it by tiny (the default), defconfig, a configuration's file, or localmodconfig:LSMOD or localmodconfig:LSMOD:CONFIG
    #[arg(long, value_name = "CONFIG")]
    config: Option<String>,
    /// Add a fragment to the configuration: a ready-made one such as kasan or lockdep, or a file
    #[arg(long = "fragment", value_name = "NAME|FILE")]
    fragments: Vec<String>,
    /// Build with clang and lld; --llvm=19 for that version
    #[arg(long, value_name = "VERSION", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    llvm: Option<String>,
}

impl RecipeArgs {
    /// What is built, if it was named.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The patches' folder, if it was named.
    pub fn series(&self) -> Option<&str> {
        self.series.as_deref()
    }

    /// The same in the harness's terms.
    pub fn wanted(&self, kernel: Option<&String>, modules: Option<&PathBuf>) -> Wanted {
        Wanted {
            kernel: kernel.cloned(),
            modules: modules.cloned(),
            source: self.source.clone(),
            revision: self.revision.clone(),
            checkout: None,
            series: self.series.clone(),
            config: self.config.clone(),
            fragments: self.fragments.clone(),
            llvm: self.llvm.clone(),
        }
    }
}

/// The options of `vmm run` by which a kernel is asked for in this way.
pub fn again(wanted: &Wanted) -> Vec<String> {
    let path = |path: &PathBuf| path.display().to_string();
    let one = [
        ("--kernel", wanted.kernel.clone()),
        ("--modules", wanted.modules.as_ref().map(path)),
        ("--source", wanted.source.clone()),
        ("--revision", wanted.revision.clone()),
        ("--series", wanted.series.clone()),
        ("--config", wanted.config.clone()),
    ];
    let one = one.into_iter().filter_map(|(option, value)| Some((option, value?)));
    let fragments = wanted.fragments.iter().map(|fragment| ("--fragment", fragment.clone()));
    let all = one.chain(fragments).flat_map(|(option, value)| [option.to_owned(), value]);
    all.chain(wanted.llvm.iter().map(|version| format!("--llvm={version}"))).collect()
}

/// Does what was asked for, and returns the exit code.
pub fn kernel(args: &KernelArgs) -> u8 {
    let cache = match Cache::open() {
        Ok(cache) => cache,
        Err(error) => return failed(&error, error.fault()),
    };
    let result = match &args.command {
        Command::Build { kernel, recipe, apart } => {
            build(&recipe.wanted(kernel.as_ref(), None), *apart, &cache)
        }
        Command::List => store::list(&cache).map(|list| say(&table::list(&list))).map_err(KernelError::from),
        Command::Show { hash } => store::find(&cache, hash).map(|kernel| say(&table::show(&kernel))),
        Command::Gc(GcArgs { keep, older, dry_run }) => {
            gc(Rule { keep: *keep, older: *older }, *dry_run, &cache).map_err(KernelError::from)
        }
        Command::Hash { kernel, recipe } => meant(&recipe.wanted(kernel.as_ref(), None), &cache)
            .and_then(|meant| kernel::hash(&meant, &cache))
            .map(|hash| say(&format!("{hash}\n"))),
        Command::Export { hash, file } => {
            parcel::export(&cache, hash, file).map(|it| say(&exported(&it, file)))
        }
        Command::Import { file, digest } => {
            parcel::import(&cache, file, digest.as_deref()).map(|it| say(&imported(&it)))
        }
        Command::Menuconfig { kernel, recipe, save } => {
            menu(&recipe.wanted(kernel.as_ref(), None), save.as_deref(), &cache)
        }
        Command::Patch(args) => return patch::patch(args, &cache),
    };
    match result {
        Ok(()) => 0,
        Err(error) => failed(&error, error.fault()),
    }
}

fn meant(wanted: &Wanted, cache: &Cache) -> Result<Meant, KernelError> {
    Ok(kernel::wanted::meant(wanted, &project::find(None)?, &cache.place(Kind::Kernel, ""))?)
}

fn build(wanted: &Wanted, apart: bool, cache: &Cache) -> Result<(), KernelError> {
    let mut meant = meant(wanted, cache)?;
    if let Meant::Recipe(recipe) = &mut meant {
        recipe.apart = apart;
    }
    let kernel = kernel::get(&meant, cache)?;
    let Kernel { release, hash, vmlinux, build, config, .. } = &kernel;
    let state = if kernel.cached { "cached" } else { "built" };
    say(&format!(
        "{release} {hash} ({state})\n  vmlinux   {}\n  config    {}\n  modules   make -C {} M=$PWD modules\n",
        vmlinux.display(),
        config.display(),
        build.display(),
    ));
    Ok(())
}

fn exported(Parcel { hash, release, digest, .. }: &Parcel, file: &std::path::Path) -> String {
    format!("{release} {hash}\n  file      {}\n  digest    {digest}\n", file.display())
}

fn imported(Parcel { hash, release, cached, .. }: &Parcel) -> String {
    let state = if *cached { "was in the cache already" } else { "imported" };
    format!("{release} {hash} ({state})\n")
}

fn gc(rule: Rule, dry_run: bool, cache: &Cache) -> Result<(), base::cache::CacheError> {
    let freed = store::plan(cache, rule)?;
    let hashes: Vec<String> = freed.kernels.iter().map(|kernel| kernel.hash.clone()).collect();
    let machines = machines::of_kernels(cache, &hashes)?;
    if !dry_run {
        machines::remove(&machines)?;
        store::remove(cache, &freed)?;
    }
    say(&table::freed(&freed, dry_run));
    if !machines.is_empty() {
        say(&machine::freed(&machines, dry_run));
    }
    Ok(())
}

fn menu(wanted: &Wanted, save: Option<&std::path::Path>, cache: &Cache) -> Result<(), KernelError> {
    let Meant::Recipe(recipe) = meant(wanted, cache)? else {
        return Err(kernel::wanted::WantedError::Conflict(
            "menuconfig",
            "a finished kernel",
            "it has no source",
        )
        .into());
    };
    let changes = menuconfig::menuconfig(&recipe, cache)?;
    match save {
        Some(_) if changes.is_empty() => say("nothing was changed\n"),
        Some(file) => {
            fs::write(file, &changes)
                .map_err(|error| KernelError::Save { path: file.to_owned(), source: error })?;
            say(&format!("wrote {}; build with --fragment {}\n", file.display(), file.display()));
        }
        None => say(&changes),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn a_kernel_is_asked_for_again_in_the_same_way() {
        let asked = |words: &[String]| {
            let words = ["vmm", "run", "a.yaml"].into_iter().map(str::to_owned).chain(words.iter().cloned());
            match Cli::try_parse_from(words).unwrap().command {
                Command::Run(args) => Wanted { kernel: args.kernels.first().cloned(), ..args.common() },
                other => panic!("{other:?}"),
            }
        };
        let built = Wanted {
            source: Some("~/linux".to_owned()),
            revision: Some("v6.12".to_owned()),
            series: Some("none".to_owned()),
            config: Some("defconfig".to_owned()),
            fragments: vec!["kasan".to_owned(), "my own.config".to_owned()],
            llvm: Some("19".to_owned()),
            ..Wanted::default()
        };
        let others = Wanted {
            kernel: Some("vmlinuz".to_owned()),
            modules: Some("/lib/modules/6.1".into()),
            ..Wanted::default()
        };
        for wanted in [built, others, Wanted::default()] {
            assert_eq!(asked(&again(&wanted)), wanted);
        }
    }
}
