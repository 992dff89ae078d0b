//! Landlock: what a thread, and all that it starts, may still do with files, sockets and other processes.
//!
//! It takes no privilege and no namespace, so it holds where a container allows neither. A kernel that knows only a part
//! of it enforces that part ([`Walls`]).

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use std::path::PathBuf;

/// How much of it this kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walls {
    /// Everything that we know of.
    All,
    /// It is an older one: files, but not the network, or not signals.
    Some,
    /// Nothing at all.
    None,
}

/// What may still be done with files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Files and folders that may be read.
    pub reads: Vec<PathBuf>,
    /// Folders that may be written to.
    pub writes: Vec<PathBuf>,
    /// Such in which sockets may be made, too.
    pub sockets: Vec<PathBuf>,
    /// Files that may be read and written to.
    pub devices: Vec<PathBuf>,
}

/// The newest form of it that is of use here. What is newer than a kernel is left out there.
pub(crate) const KNOWN: ABI = ABI::V6;

/// Restricts this thread, and whatever it starts from now on, to what is allowed. Files that are open stay so.
///
/// # Errors
/// A kernel that knows Landlock does not take the rules.
pub fn restrict(rules: &Rules) -> Result<Walls, RulesetError> {
    confine(rules).map(|status| match status.ruleset {
        RulesetStatus::FullyEnforced => Walls::All,
        RulesetStatus::PartiallyEnforced => Walls::Some,
        RulesetStatus::NotEnforced => Walls::None,
    })
}

/// As [`restrict`]. Returns the form that this kernel has: what that does not hold is the filter's ([`crate::filter`]).
///
/// # Errors
/// As [`restrict`].
pub(crate) fn restrict_as_far(rules: &Rules) -> Result<ABI, RulesetError> {
    confine(rules).map(|status| status.landlock.into())
}

fn confine(rules: &Rules) -> Result<RestrictionStatus, RulesetError> {
    let file = (AccessFs::from_read(KNOWN) | AccessFs::from_write(KNOWN)) & AccessFs::from_file(KNOWN);
    // Nothing that is made here is to be a device or a socket that others could take for a file.
    let with_sockets = AccessFs::from_all(KNOWN) & !(AccessFs::MakeBlock | AccessFs::MakeChar);
    let all = with_sockets & !(AccessFs::MakeBlock | AccessFs::MakeSock);
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(&rules.reads, AccessFs::from_read(KNOWN)))?
        .add_rules(path_beneath_rules(&rules.writes, all))?
        .add_rules(path_beneath_rules(&rules.sockets, with_sockets))?
        .add_rules(path_beneath_rules(&rules.devices, file))?
        .restrict_self()
}

/// From now on this thread, and all that it starts, signals nobody but those that it starts. Whether the kernel sees to that, as Linux does
/// since 6.12; it is tried out with this process's parent.
pub(crate) fn signal_own_alone() -> bool {
    let scoped = || {
        let rules =
            Ruleset::default().set_compatibility(CompatLevel::HardRequirement).scope(Scope::Signal)?;
        rules.create()?.restrict_self()
    };
    scoped().is_ok_and(|status| status.ruleset == RulesetStatus::FullyEnforced)
        && kill(Pid::parent(), None) == Err(Errno::EPERM)
}
