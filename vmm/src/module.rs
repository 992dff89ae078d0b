//! `vmm module`: kernel modules without a guest.

use crate::say;
use clap::{Args, Subcommand};
use harness::module;
use std::path::PathBuf;

/// Build kernel modules, and say whether the kernel will take them.
///
/// The same happens in every `vmm run` before anything boots.
#[derive(Debug, Args)]
pub struct ModuleArgs {
    #[command(subcommand)]
    command: ModuleCommand,
}

#[derive(Debug, Subcommand)]
enum ModuleCommand {
    /// Build the modules of folders for a kernel
    ///
    /// Each folder has a Makefile with a line like `obj-m := hello.o`, or `obj-m := a.o b.o` for several. It is
    /// built by the kernel's own build system in a copy, so that the folder stays clean. Exits with 1 if one
    /// does not build or the kernel would refuse it.
    #[command(after_long_help = "\
Examples:
  vmm module build modules/hello
  vmm module build modules/hello modules/pair --out /tmp/modules")]
    Build {
        /// Folders with modules' sources
        #[arg(required = true, value_name = "DIR")]
        folders: Vec<PathBuf>,
        /// The kernel to build for: a series, or a kernel of the cache by its hash
        #[arg(long, value_name = "KERNEL")]
        kernel: Option<String>,
        /// Copy the modules to this folder, which is made if it is missing
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Say whether a kernel will take these modules, and if not, why
    ///
    /// Looks at architecture, vermagic, symbols and their versions, licence and name. Modules may need each
    /// other: name them together. Exits with 2 if one would be refused.
    #[command(after_long_help = "\
Example:
  vmm module check hello.ko driver.ko.xz")]
    Check {
        /// Modules: .ko, .ko.xz, .ko.zst or .ko.gz
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The kernel to check against: a series, or a kernel of the cache by its hash
        #[arg(long, value_name = "KERNEL")]
        kernel: Option<String>,
    },
}

/// Does it; returns the exit code.
pub fn module(args: &ModuleArgs) -> u8 {
    match &args.command {
        ModuleCommand::Build { folders, kernel, out } => {
            say::outcome(module::build(folders, kernel.as_deref(), out.as_deref()))
        }
        ModuleCommand::Check { files, kernel } => say::outcome(module::check(files, kernel.as_deref())),
    }
}
