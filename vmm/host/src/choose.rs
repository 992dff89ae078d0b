//! Which host it will be, and the two of them behind one face.

use crate::{
    boot_bench::{self, BootBench, Qemu, Sample},
    emulated::{self, EmulatedError, EmulatedHost},
    emulated_intel::{self, IntelError},
    kvm,
};
use board::wire::Spec;
use engine::{EngineError, Machines, event::Event};
use plan::Plan;
use std::{env, path::PathBuf};

/// The environment variable that names the folder of a host that `vmm host serve` keeps.
pub const SERVED: &str = "VMM_HOST_DIR";

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// This machine's KVM if it is sound, else an emulated one.
    #[default]
    Auto,
    /// This machine's KVM.
    Kvm,
    /// An emulated one.
    Emulated,
    /// An emulated one with an Intel processor.
    EmulatedIntel,
}

/// Why there is no host, or why it failed; never the guest's fault.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// This machine's KVM was asked for.
    #[error("use this machine's KVM: {why}{}", fix.as_ref().map(|fix| format!("\n  {fix}")).unwrap_or_default())]
    Unsound {
        /// What is wrong with it.
        why: String,
        /// What to do.
        fix: Option<String>,
    },
    /// Neither is there.
    #[error(
        "find a host to run guests on:\n  this machine's KVM: {kvm}{}\n  an emulated one: failed to {emulated}",
        fix.as_ref().map(|fix| format!("\n    {fix}")).unwrap_or_default()
    )]
    None {
        /// What is wrong with this machine's.
        kvm: String,
        /// What to do about it.
        fix: Option<String>,
        /// What is wrong with the other one.
        emulated: EmulatedError,
    },
    /// The emulated host.
    #[error(transparent)]
    Emulated(#[from] EmulatedError),
    /// The emulated host with an Intel processor.
    #[error(transparent)]
    Intel(#[from] IntelError),
    /// The engine.
    #[error("{0}")]
    Engine(EngineError),
}

impl HostError {
    /// The caller gave up; nothing is wrong.
    pub fn is_interrupt(&self) -> bool {
        matches!(
            self,
            Self::Emulated(EmulatedError::Interrupted)
                | Self::Intel(IntelError::Interrupted)
                | Self::Engine(EngineError::Interrupted)
        )
    }
}

/// Which host it will be.
#[derive(Clone, Debug)]
pub struct Chosen {
    kind: Kind,
    /// In one line, with the reason: `emulated KVM (this /dev/kvm interprets ring 0: ...)`.
    pub description: String,
    /// Guests there are many times slower than this machine.
    pub slow: bool,
    files: PathBuf,
}

#[derive(Clone, Debug)]
enum Kind {
    Kvm,
    Emulated,
    Served(PathBuf),
    Intel,
}

/// Decides where machines run. `files` is where `./setup emulator` puts what an emulated host needs.
///
/// # Errors
/// What was asked for, or everything, is missing here; the message says what to do.
pub fn choose(choice: Choice, files: PathBuf) -> Result<Chosen, HostError> {
    let emulated = |why: String| {
        let served = env::var_os(SERVED).filter(|folder| !folder.is_empty()).map(PathBuf::from);
        Ok(match served {
            Some(folder) => Chosen {
                description: format!("emulated KVM served in {} ({why})", folder.display()),
                kind: Kind::Served(folder),
                slow: true,
                files: files.clone(),
            },
            None => {
                emulated::check(&files)?;
                Chosen {
                    kind: Kind::Emulated,
                    slow: true,
                    description: format!("emulated KVM ({why})"),
                    files: files.clone(),
                }
            }
        })
    };
    if choice == Choice::Emulated {
        return emulated("asked for by --host emulated".to_owned()).map_err(HostError::Emulated);
    }
    if choice == Choice::EmulatedIntel {
        let files = files.with_file_name("intel");
        emulated_intel::check(&files)?;
        let description = "emulated KVM on Intel (asked for by --host emulated-intel)".to_owned();
        return Ok(Chosen { kind: Kind::Intel, description, slow: true, files });
    }
    let examination = kvm::examine();
    let Some(failure) = examination.first_failure() else {
        let description = format!("this machine's KVM ({}{})", examination.summary(), kvm::finds_less());
        return Ok(Chosen { kind: Kind::Kvm, description, slow: false, files });
    };
    let (why, fix) = (failure.found.clone(), failure.fix.clone());
    let slow = |hint: &str| Chosen {
        kind: Kind::Kvm,
        description: format!("this machine's KVM, slow as it is ({why}; {hint})"),
        slow: true,
        files: files.clone(),
    };
    match (choice, examination.first_fault()) {
        (Choice::Kvm, Some(fault)) => {
            Err(HostError::Unsound { why: fault.found.clone(), fix: fault.fix.clone() })
        }
        (Choice::Kvm, None) => Ok(slow("`--host emulated` may take less time")),
        (_, fault) => emulated(why.clone()).or_else(|emulated| match fault {
            // A guest that takes its time is better than none.
            None => Ok(slow("an emulated host may take less time, and none is set up here")),
            Some(_) => Err(HostError::None { kvm: why.clone(), fix, emulated }),
        }),
    }
}

impl Chosen {
    /// Measures the boot of a guest there; see [`boot_bench::measure`].
    ///
    /// # Errors
    /// The host failed, or `stop` said so.
    pub fn bench_boot(
        &self,
        machine: Spec,
        runs: u32,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Sample),
    ) -> Result<(), HostError> {
        match self.kind {
            Kind::Kvm => {
                let path = env::var_os("PATH").unwrap_or_default();
                let programs = env::split_paths(&path).map(|folder| folder.join("qemu-system-x86_64"));
                let qemu = programs.into_iter().find(|program| program.is_file());
                let qemu = qemu.map(|program| Qemu { program, firmware: None });
                boot_bench::measure(&BootBench { machine, runs, qemu }, stop, sink);
                Ok(())
            }
            Kind::Emulated | Kind::Served(_) => {
                Ok(emulated::bench_boot(&self.files, machine, runs, stop, sink)?)
            }
            Kind::Intel => {
                Err(IntelError::Failed("it runs plans only, and measures no boot".to_owned()).into())
            }
        }
    }
}

/// A host that runs plans.
pub enum Host {
    /// Here.
    Kvm(Box<Machines>),
    /// In an emulator.
    Emulated(Box<EmulatedHost>),
}

impl Chosen {
    /// Gets it ready. An emulated one is still booting when this returns. `guests_mib` is the memory that
    /// its guests need; a host that is served has what it was given.
    ///
    /// # Errors
    /// It can't be started or found, or `stop` said so.
    pub fn start(&self, guests_mib: u32, stop: &dyn Fn() -> bool) -> Result<Host, HostError> {
        Ok(match &self.kind {
            Kind::Kvm => {
                let mut machines = Box::<Machines>::default();
                machines.get_ready();
                Host::Kvm(machines)
            }
            Kind::Intel => Host::Emulated(Box::new(EmulatedHost::intel(&self.files, guests_mib))),
            Kind::Emulated => Host::Emulated(Box::new(EmulatedHost::start(&self.files, guests_mib)?)),
            Kind::Served(folder) => Host::Emulated(Box::new(EmulatedHost::join(&self.files, folder, stop)?)),
        })
    }
}

impl Host {
    /// Carries out a plan; see [`Machines::execute`].
    ///
    /// # Errors
    /// The host failed, or `stop` said so. After an error nothing of the run is left.
    pub fn execute(
        &mut self,
        plan: &Plan,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), HostError> {
        match self {
            Self::Kvm(machines) => machines.execute(plan, stop, sink).map_err(HostError::Engine),
            Self::Emulated(host) => Ok(host.execute(plan, stop, sink)?),
        }
    }
}
