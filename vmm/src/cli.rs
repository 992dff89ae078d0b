//! What can be said on the command line.

use crate::{
    bench::BenchArgs,
    bisect::BisectArgs,
    confined::ConfinedArgs,
    grade::GradeArgs,
    init::InitArgs,
    kernel::{KernelArgs, RecipeArgs},
    kernel_tests::{KselftestArgs, KunitArgs},
    machine::MachineArgs,
    manual::{CompletionsArgs, ManArgs},
    many::{ManyArgs, Planned},
    module::ModuleArgs,
    report::ReportArgs,
    splat::SplatArgs,
};
use base::wanted::Wanted;
use clap::{Args, Parser, Subcommand, ValueEnum};
use harness::{Options, Starts, explain::Explain};
use host::Choice;
use report::terminal::Detail;
use scenario::{EVIDENCE, Settings, model::Watchfulness};
use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

/// Boot a Linux kernel under test, drive it by a scenario, and watch it from outside.
///
/// A scenario says in YAML which modules to load, which system calls to make, which devices to use, and what
/// is expected to come of it. vmm builds the kernel and the modules, boots them in a small virtual machine,
/// does the steps, traps the guest's system calls with a hardware breakpoint, and gives a verdict.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_long_help = EXAMPLES)]
pub struct Cli {
    /// Take series of patches and fragments from this folder's kernel-patches [default: the nearest one above the
    /// scenario, the current folder or the program; else those that vmm brings]
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub project: Option<PathBuf>,
    /// Do nothing unless everything that others wrote can be confined in full (`vmm doctor` says what can't)
    #[arg(long, global = true)]
    pub require_jail: bool,
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  vmm run scenarios/chardev.yaml                        run one scenario
  vmm run scenarios/*.yaml                              run several, one after the other
  vmm run scenarios/hello.yaml --report json=out.json   for a program that reads the result
  vmm module build modules/hello                        build a module for the kernel that scenarios run on
  vmm doctor                                            can this machine run guests, and what is missing

Exit codes:
  0    every scenario passed
  1    a verdict against the kernel, a module, or an expectation
  2    bad input: the command line, a scenario, a configuration
  3    this machine's fault, never the kernel's
  130  ended by Ctrl-C (143 by SIGTERM, 129 by SIGHUP)

  Of several runs, 1 goes before 2, 2 before 3, and 3 before 0.

Environment:
  VMM_CACHE     where kernels, modules and the emulated host are kept (default: $XDG_CACHE_HOME/vmm,
                else ~/.cache/vmm)
  VMM_LIMITS    how much may be handed in (file, total, files, depth) and what a build may take (time,
                processes, memory, output, disk), such as files=50000,total=4GiB,time=600s; more than a
                module may have lowers no limit, less lowers all but a kernel's
  VMM_DEBIAN_MIRROR
                an archive of Debian, such as https://MIRROR/debian, where this machine's apt knows none
  VMM_HOST_DIR  use the emulated host that `vmm host serve --socket DIR` keeps in this folder
  NO_COLOR      no colours, whatever the value";

// What each is for stands at its arguments: a doc comment here would take the place of all that is said there.
#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<RunArgs>),
    Kselftest(Box<KselftestArgs>),
    Kunit(Box<KunitArgs>),
    Bisect(Box<BisectArgs>),
    Module(ModuleArgs),
    Grade(GradeArgs),
    Report(ReportArgs),
    Explain(ExplainArgs),
    Doctor(DoctorArgs),
    Kernel(KernelArgs),
    Host(HostArgs),
    Bench(BenchArgs),
    Splat(SplatArgs),
    Init(InitArgs),
    Completions(CompletionsArgs),
    #[command(hide = true)]
    Man(ManArgs),
    Machine(MachineArgs),
    /// What a tiny guest shows of this machine's KVM
    #[command(hide = true)]
    Probe,
    #[command(hide = true)]
    Confined(ConfinedArgs),
}

/// Run scenarios and give verdicts.
///
/// The kernel and the modules that a scenario names are built first, and kept: the second run builds nothing.
/// All scenarios are read before the first one runs, so that a typo in the last one costs no time.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vmm run scenarios/chardev.yaml
  vmm run --host emulated scenarios/syscall.yaml
  vmm run scenarios --tag quick --retry 2 --report junit=out.xml
  vmm run scenarios --kernel 6.12 --kernel 7.3 --fragment kasan
  vmm run scenarios --dry-run                           is there a typo in one?
  vmm run scenarios/hello.yaml --report json=out.json")]
pub struct RunArgs {
    /// Scenarios, in YAML; of a folder all that are below it, of a pattern (`net-*.yaml`) all that match
    #[arg(required = true, value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,
    /// Give a parameter of the scenario a value; as often as you like
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Show each system call as it was seen from outside: all, or those that are named
    #[arg(long, value_name = "NAME,...", num_args = 0.., require_equals = true, value_delimiter = ',')]
    trace: Option<Vec<String>>,
    /// How closely guests are watched: full, kprobes (the kernel may patch its own text) or basic (calls are counted)
    #[arg(long, value_name = "HOW", value_parser = evidence)]
    evidence: Option<Watchfulness>,
    /// Boot this kernel: a series (6.12), a hash of `vmm kernel list`, a vmlinuz, or a linux-image .deb file; several times
    /// for several kernels
    #[arg(long = "kernel", value_name = "KERNEL", conflicts_with = "source")]
    pub kernels: Vec<String>,
    /// The modules of a kernel that was not built here: /lib/modules/RELEASE
    #[arg(long, value_name = "DIR", requires = "kernels")]
    modules: Option<PathBuf>,
    #[command(flatten)]
    pub how: HowArgs,
    /// Read and plan everything as for a run, and say what is wrong; fetch, build and boot nothing
    ///
    /// Needs no KVM. Where the kernel is in the cache, names of system calls and what its configuration lacks are looked up in it.
    #[arg(long, conflicts_with_all = ["report", "artifacts", "bisect"])]
    pub dry_run: bool,
    /// Exit as `git bisect run` wants it: 0 good, 1 bad, 125 for what can't be judged, 128 for what ends the bisection
    ///
    /// What this machine is at fault for is tried again twice. git does not say what was bad at the bad end, so --bad-if does, or
    /// every verdict against the kernel is bad.
    #[arg(long, conflicts_with_all = ["report", "retry", "repeat", "until_fail", "quarantine", "shard"])]
    pub bisect: bool,
    /// With --bisect: bad is only what says this of itself; a regular expression
    #[arg(long, value_name = "PATTERN", requires = "bisect", value_parser = crate::bisect::pattern)]
    pub bad_if: Option<regex::Regex>,
    /// Or build one first
    #[command(flatten)]
    recipe: RecipeArgs,
}

/// How scenarios are run and reported, wherever they come from.
#[derive(Debug, Args)]
pub struct HowArgs {
    /// Also write the runs to a file: json, events, junit, ktap, md or html; as often as you like
    ///
    /// Files are whole at every moment, also when the run is killed, and list what did not run. json=FILE is one object with
    /// all scenarios in it; events=FILE gets a line of JSON for everything that happens; html=FILE is one page that needs
    /// nothing else.
    #[arg(long, value_name = "FORMAT=FILE")]
    pub report: Vec<Report>,
    /// Show of every step what its program printed and what the kernel logged
    #[arg(long, short)]
    pub verbose: bool,
    /// Where guests run
    #[arg(long, value_enum, default_value_t = Where::Auto)]
    host: Where,
    /// Boot each guest, instead of starting it from where one like it was saved
    #[arg(long)]
    cold: bool,
    /// Of guests that go back to where they were saved, compare everything with it
    #[arg(long, conflicts_with = "cold", hide_short_help = true)]
    verify_reset: bool,
    #[command(flatten)]
    pub many: ManyArgs,
}

impl HowArgs {
    /// The same in the harness's terms.
    pub fn options(&self) -> Options {
        let starts = if self.cold { Starts::Cold } else { Starts::Warm };
        Options { host: self.host.into(), starts, verify_reset: self.verify_reset, ..Options::default() }
    }

    /// So many times, where a table of verdicts and times is what is wanted, and no reports of what was run.
    pub fn table(&self, planned: &Planned) -> Option<u32> {
        let plain = self.report.is_empty() && self.many.artifacts.is_none() && !self.many.is_judged();
        self.many.repeat.filter(|_| plain && planned.shard.is_none())
    }

    /// How much is shown of steps that go well.
    pub fn detail(&self) -> Detail {
        if self.verbose { Detail::Everything } else { Detail::Line }
    }

    /// What clap can't see.
    pub fn complaint(&self) -> Option<String> {
        if let Some(complaint) = self.many.complaint() {
            return Some(complaint);
        }
        one_file(&self.report)
    }
}

/// The same for all names of a file, which need not be there.
pub fn whole(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let there = path
        .canonicalize()
        .or_else(|_| Ok(folder.canonicalize()?.join(path.file_name().unwrap_or_default())));
    there.unwrap_or_else(|_: std::io::Error| path.to_owned())
}

/// Why reports can't be written where they are to be: two of them have one file, by whatever names.
pub fn one_file(reports: &[Report]) -> Option<String> {
    let files: Vec<PathBuf> = reports.iter().map(|report| whole(&report.file)).collect();
    let twice = (0..files.len()).find(|at| files[..*at].contains(&files[*at]))?;
    Some(format!("two reports can't be written to one file: {}", reports[twice].file.display()))
}

fn evidence(text: &str) -> Result<Watchfulness, String> {
    let found = EVIDENCE.iter().find(|(name, _)| *name == text).map(|(_, evidence)| *evidence);
    found.ok_or_else(|| "it is `full`, `kprobes` or `basic`".to_owned())
}

impl RunArgs {
    /// The same in the harness's terms.
    pub fn options(&self) -> Options {
        Options { trace: self.trace.clone(), evidence: self.evidence, ..self.how.options() }
    }

    /// What all kernels have in common.
    pub fn common(&self) -> Wanted {
        self.recipe.wanted(None, self.modules.as_ref())
    }

    /// What whoever repeats one of the runs has to say again; the kernel has a name of its own then.
    pub fn again(&self) -> Vec<String> {
        let set = self.set.iter().flat_map(|(name, value)| ["--set".to_owned(), format!("{name}={value}")]);
        let evidence = EVIDENCE.iter().filter(|(_, evidence)| Some(*evidence) == self.evidence);
        set.chain(evidence.flat_map(|(name, _)| ["--evidence".to_owned(), (*name).to_owned()])).collect()
    }

    /// What the scenario's parameters are.
    pub fn settings(&self) -> Settings {
        self.set.iter().cloned().collect()
    }

    /// What clap can't see.
    pub fn complaint(&self) -> Option<String> {
        if self.kernels.len() > 1 && self.modules.is_some() {
            return Some("--modules belongs to one kernel, and --kernel names several".to_owned());
        }
        set_twice(&self.set).or_else(|| self.how.complaint())
    }
}

/// What is wrong if a parameter is given two values.
pub fn set_twice(set: &[(String, String)]) -> Option<String> {
    let given = |at: &usize| set[..*at].iter().any(|(name, _)| *name == set[*at].0);
    let at = (0..set.len()).find(given)?;
    Some(format!("--set gives `{}` two values", set[at].0))
}

/// Follow one system call through the kernel.
///
/// Boots a guest, makes the call once, and shows its way as the hypervisor saw it, instruction by instruction: from
/// the program into the kernel, which functions ran, what they checked, the result, and back. Arguments are written as
/// in a scenario: numbers, strings, `{out: long}`. Pointers that are not given lead to 64 zeroed bytes, other
/// arguments are 0. A number that the kernel does not know shows its way to ENOSYS.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vmm explain csci_add 2 40
  vmm explain openat -100 /etc/nothing 0
  vmm explain 999")]
pub struct ExplainArgs {
    /// The call's name, or its number
    #[arg(value_name = "CALL")]
    call: String,
    /// Its arguments
    #[arg(value_name = "ARG", num_args = 0..=6, allow_negative_numbers = true)]
    args: Vec<String>,
    /// In this kernel: a series (6.12), a hash of `vmm kernel list`, a vmlinuz, or a linux-image .deb file
    #[arg(long, value_name = "KERNEL", conflicts_with = "source")]
    kernel: Option<String>,
    /// Where the guest runs
    #[arg(long, value_enum, default_value_t = Where::Auto)]
    host: Where,
    /// Or build one first
    #[command(flatten)]
    recipe: RecipeArgs,
}

impl ExplainArgs {
    /// The same in the harness's terms.
    pub fn asked(&self) -> Explain {
        let kernel = self.recipe.wanted(self.kernel.as_ref(), None);
        Explain { call: self.call.clone(), args: self.args.clone(), host: self.host.into(), kernel }
    }
}

/// A name and a value.
pub fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as major=261")?;
    if name.is_empty() {
        return Err(format!("the parameter's name is missing before `={value}`"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A report's format and file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub format: Format,
    pub file: PathBuf,
}

/// What a report is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object with all scenarios in it
    Json,
    /// What happens, as it happens, one JSON object a line
    Events,
    /// JUnit's XML: a suite a scenario, a case a step
    Junit,
    /// Nested results as the kernel's own tests write them
    Ktap,
    /// A table in Markdown, and what failed
    Md,
    /// One page for a browser
    Html,
}

impl FromStr for Report {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, file)) = text.split_once('=') else {
            return Err("expected FORMAT=FILE, such as json=out.json".to_owned());
        };
        let known = || {
            let names = Format::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            names.map(|name| name.get_name().to_owned()).collect::<Vec<_>>().join(", ")
        };
        let format = Format::from_str(name, false)
            .map_err(|_| format!("there is no format `{name}` (known: {})", known()))?;
        if file.is_empty() {
            return Err(format!("the file's name is missing after `{name}=`"));
        }
        Ok(Self { format, file: file.into() })
    }
}

/// Where guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Where {
    /// On this machine's KVM if it is sound, else on an emulated one
    Auto,
    /// On this machine's KVM
    Kvm,
    /// On a KVM host under QEMU: slower, but the same everywhere
    Emulated,
    /// On a KVM host with an Intel processor, under Bochs: slower by far (`./setup intel`)
    EmulatedIntel,
}

impl From<Where> for Choice {
    fn from(place: Where) -> Self {
        match place {
            Where::Auto => Self::Auto,
            Where::Kvm => Self::Kvm,
            Where::Emulated => Self::Emulated,
            Where::EmulatedIntel => Self::EmulatedIntel,
        }
    }
}

/// Say whether this machine can run guests, and how to mend what is missing.
///
/// Exits with 0 if it can, and with 3 if not.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look at this host only; auto is content with either
    #[arg(long, value_enum, default_value_t = Where::Auto)]
    pub host: Where,
    /// Print nothing: only the exit code tells
    #[arg(long, short)]
    pub quiet: bool,
}

/// Keep an emulated host.
#[derive(Debug, Args)]
pub struct HostArgs {
    #[command(subcommand)]
    pub command: HostCommand,
}

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Keep an emulated host running until Ctrl-C, so that runs need not start one
    ///
    /// Runs whose environment has VMM_HOST_DIR=DIR use it, up to four at a time.
    #[command(after_long_help = "\
Example:
  vmm host serve --socket $XDG_RUNTIME_DIR/host &
  VMM_HOST_DIR=$XDG_RUNTIME_DIR/host vmm run scenarios/hello.yaml")]
    Serve {
        /// A folder of its own for the host's sockets; made if it is missing
        #[arg(long, value_name = "DIR")]
        socket: PathBuf,
        /// Memory for all guests together, in MiB
        #[arg(long, value_name = "MIB", default_value_t = 1536, value_parser = clap::value_parser!(u32).range(64..=65536))]
        memory: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run_args(line: &str) -> Result<RunArgs, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Command::Run(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_call_is_explained_in_a_kernel_of_ones_own() {
        let words = "vmm explain average null --source l --series none".split(' ');
        let Ok(Cli { command: Command::Explain(args), .. }) = Cli::try_parse_from(words) else { panic!() };
        let Explain { args, kernel, .. } = args.asked();
        assert_eq!((&*args, kernel.source.as_deref()), (&["null".to_owned()][..], Some("l")));
    }

    #[test]
    fn a_run_takes_files_a_host_and_a_report() {
        let args = run_args("vmm run a.yaml --report json=b=c.json --host kvm").unwrap();
        let options = args.options();
        assert_eq!((args.complaint(), options.host), (None, Choice::Kvm));
        assert_eq!(args.how.report, [Report { format: Format::Json, file: "b=c.json".into() }]);
        assert_eq!(run_args("vmm run a.yaml b.yaml").unwrap().options().host, Choice::Auto);
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for line in [
            "vmm run",
            "vmm run a --report xml=b",
            "vmm run a --report json=",
            "vmm run a --report b",
            "vmm run a --host c",
            "vmm run a --shard 9/8",
            "vmm run a --times b",
            "vmm run a --retry 1 --repeat 2",
            "vmm run a --repeat 0",
            "vmm run a --fail-on nothing",
            "vmm run a --modules b",
            "vmm run a --set major",
            "vmm run a --set =261",
            "vmm run a --dry-run --report json=b",
        ] {
            assert_eq!(run_args(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let set = run_args("vmm run a --set major=261 --set text=a=b").unwrap().settings();
        assert_eq!((&*set["major"], &*set["text"]), ("261", "a=b"));
        for line in [
            "vmm run a --set b=1 --set b=2",
            "vmm run a --report json=b --report junit=b",
            "vmm run a --kernel 6.12 --kernel 7.3 --modules c",
            "vmm run a --tag b,",
        ] {
            assert!(run_args(line).unwrap().complaint().is_some(), "{line}");
        }
        let several = run_args("vmm run a b --report junit=c --report md=d").unwrap();
        assert_eq!(several.complaint(), None);
    }
}
