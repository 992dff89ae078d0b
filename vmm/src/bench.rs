//! `vmm bench`: the figures.

use crate::cli::Where;
use base::wanted::Wanted;
use clap::{Args, Subcommand};
use harness::{
    Abort,
    bench::{self, Table},
};
use std::path::PathBuf;

/// Measure, side by side with others.
///
/// Nothing here passes or fails by a time: the figures are printed, beside the bars that they are held against. Instructions are
/// another thing.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// From process start until the guest's agent is ready: vmm, and QEMU's microvm
    ///
    /// Both boot the same kernel and initramfs in turns on the same host. On a machine with its own KVM, QEMU is
    /// the qemu-system-x86_64 of the PATH; in an emulated host it is the one that `./setup emulator` brought.
    Boot {
        /// Whose kernel and modules to boot
        #[arg(default_value = "scenarios/hello.yaml", value_name = "FILE")]
        scenario: PathBuf,
        /// So many times each
        #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
        runs: u32,
        /// Where guests run
        #[arg(long, value_enum, default_value_t = Where::Auto)]
        host: Where,
    },
    /// A kernel of which one file changed: built by vmm, and by make alone in the same folder
    Build {
        /// A series, as of `vmm kernel build`
        #[arg(value_name = "KERNEL")]
        kernel: Option<String>,
        /// So many times each
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        runs: u32,
    },
    /// Instructions, the same on every machine: a boot, a system call in each way, steps
    ///
    /// Runs on the emulated Intel host, whose clock counts instructions (`./setup intel`); takes a minute or two. Exits
    /// with 1 if a figure is more than 5 % above the table.
    Exact {
        /// Compare with the figures in this file
        #[arg(long, value_name = "FILE")]
        table: Option<PathBuf>,
        /// Write them there instead
        #[arg(long, requires = "table")]
        update: bool,
    },
    /// Until a guest answers: by its boot, from a saved machine, by going back; and what one more guest costs
    Warm {
        /// What is run as a whole process
        #[arg(default_value = "scenarios/hello.yaml", value_name = "FILE")]
        scenario: PathBuf,
        /// So many times each
        #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
        runs: u32,
        /// Where guests run
        #[arg(long, value_enum, default_value_t = Where::Auto)]
        host: Where,
    },
    /// A bisection of the kernel: by vmm, and by git with a script that calls make and vmm
    ///
    /// Makes a history of 67 commits on top of Linux 6.12 for that, and builds everything in a cache of its own. Takes some ten
    /// minutes on two processors, and some GiB in the cache's folder bisect-bench, which may be deleted.
    Bisect,
    /// Grading a class, one and two at a time, and the same by `vmm run`
    ///
    /// Students hand in the bad solutions that the assignment names, in turn.
    Grade {
        /// The assignments
        #[arg(
            default_values = ["scenarios/courses/pa2/assignment.yaml", "scenarios/courses/pa1/assignment.yaml"],
            value_name = "FILE"
        )]
        assignments: Vec<PathBuf>,
        /// So many students for each, in the same order
        #[arg(long, default_values_t = [100, 20], value_parser = clap::value_parser!(u32).range(1..=1000))]
        students: Vec<u32>,
        /// Where guests run
        #[arg(long, value_enum, default_value_t = Where::Auto)]
        host: Where,
    },
    /// A system call: as it is, counted, with its result, and under strace
    Calls {
        /// Calls in a loop
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
        calls: u32,
        /// So many times each
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        runs: u32,
        /// Where guests run
        #[arg(long, value_enum, default_value_t = Where::Auto)]
        host: Where,
    },
}

/// Measures, and says what came of it.
///
/// # Errors
/// Bad input, or this machine.
pub fn measure(command: BenchCommand) -> Result<String, Abort> {
    match command {
        BenchCommand::Boot { scenario, runs, host } => {
            let scenario = scenario::load(&scenario).map_err(|errors| Abort::input(errors.to_string()))?;
            bench::measure_boot(&scenario, runs, host.into())
        }
        BenchCommand::Build { kernel, runs } => {
            bench::measure_build(&Wanted { kernel, ..Wanted::default() }, runs)
        }
        BenchCommand::Bisect => ::bisect::bench::measure(),
        BenchCommand::Grade { assignments, students, host } => {
            let class = assignments.iter().zip(students.iter().chain(students.last().into_iter().cycle()));
            let tables: Result<Vec<String>, Abort> = class
                .map(|(assignment, students)| {
                    grade::bench::measure(assignment, *students as usize, host.into())
                })
                .collect();
            Ok(tables?.join("\n"))
        }
        BenchCommand::Exact { table, update } => bench::measure_exact(&match table {
            Some(table) if update => Table::Write(table),
            Some(table) => Table::Compare(table),
            None => Table::None,
        }),
        BenchCommand::Warm { scenario, runs, host } => bench::measure_warm(&scenario, runs, host.into()),
        BenchCommand::Calls { calls, runs, host } => bench::measure_calls(calls, runs, host.into()),
    }
}
